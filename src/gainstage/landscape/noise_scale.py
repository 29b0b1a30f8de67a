"""Gradient noise: how much the gradients of single samples, or of small batches, scatter around their mean."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gainstage.errors import InputError, SubjectError
from gainstage.landscape.folds import Folds
from gainstage.landscape.layer_parameters import layer_parameters
from gainstage.landscape.objective import Norms, Objective
from gainstage.landscape.precision import working_dtype
from gainstage.landscape.samples import batch_length, coupling, part_of, permutation, sample_gradients
from gainstage.numerics import Interval
from gainstage.trace.subject import as_subject

# How far two halves' gradients may be from the whole batch's, relatively, for samples to count as independent.
_COUPLED = 1e-3


@dataclass(frozen=True)
class LayerNoise:
    """Of one layer.

    Attributes:
        name: As in a trace; ``(other)`` for parameters that no layer reads.
        gradient_square: The estimate of ‖G_l‖²; may be negative where noise covers it.
        trace: Of the covariance of one sample's gradient, tr Σ_l.
        signal_to_noise: ‖G_l‖²/tr Σ_l of one sample; a batch of B samples has B times as much. At least 0.
    """

    name: str
    gradient_square: float
    trace: float
    signal_to_noise: float | None


@dataclass(frozen=True)
class NoiseEstimate:
    """From gradients of independent groups of ``group_size`` samples.

    Attributes:
        group_size: Samples in a group; 1 where each sample has a gradient of its own.
        groups: How many.
        gradient_square: The unbiased estimate of ‖G‖²; may be negative where noise covers it.
        trace: tr Σ, group_size times the trace of the groups' covariance.
        noise_scale: tr Σ/‖G‖² in samples, with its 95 % interval; infinite where ‖G‖² cannot be told from zero. None
            where there is neither gradient nor noise.
        layers: Each layer's share, in order of execution.
    """

    group_size: int
    groups: int
    gradient_square: float
    trace: float
    noise_scale: Interval | None
    layers: tuple[LayerNoise, ...]


@dataclass(frozen=True)
class GradientNoise:
    """What was found.

    Attributes:
        method: ``per-sample``, or ``microbatches`` where samples of a batch depend on each other.
        coupling: Relative distance between a batch's gradient and the mean of its two halves', dropout off: 0 up to
            rounding where samples are independent and the loss is their mean.
        estimates: One for each group size; one with size 1 for per-sample gradients.
        samples: How many were used.
        non_finite: How many groups had a gradient that is not finite, and were left out.
        note: What to bear in mind; empty else.
    """

    method: str
    coupling: float
    estimates: tuple[NoiseEstimate, ...]
    samples: int
    non_finite: int = 0
    note: str = ""


def gradient_noise(
    subject_or_model: Any,
    batches: Any = None,
    loss: Any = None,
    *,
    count: int = 4,
    sizes: Sequence[int] | None = None,
    norms: Norms = "as is",
    dtype: torch.dtype | None = None,
    seed: int = 0,
) -> GradientNoise:
    """Returns the simple noise scale tr Σ/‖G‖², and each layer's signal to noise.

    G is the gradient of the mean loss, Σ the covariance of one sample's gradient. From k groups of b samples with
    gradients g_j, mean ḡ:

    - tr Σ = b Σ_j ‖g_j - ḡ‖²/(k - 1);
    - ‖G‖² = (k‖ḡ‖² - mean ‖g_j‖²)/(k - 1).

    Both are unbiased, and the same as McCandlish et al.'s from two batch sizes b and kb, where the gradient of the
    large batch is the mean of the small ones'. With b = 1 they are the per-sample estimates.

    Behind batch norm in train mode a sample's gradient is not defined without its batch: samples change each other's
    statistics, and the gradient of a batch is not the mean of its parts'. There, and wherever halves of a batch do
    not average to the whole, groups are microbatches, and G and Σ those of a network trained at that size: one
    estimate for each of several sizes. Where they differ, no single noise scale exists. In eval mode (``norms="eval"``)
    samples are independent again, and it is the noise of another function: that with running statistics.

    Args:
        subject_or_model, batches, loss: As in `gainstage.check`.
        count: How many batches to use.
        sizes: Of the microbatches; they are used even where per-sample gradients exist. None: decided as above, with
            an eighth and a quarter of a batch.
        norms: As in `Objective`.
        dtype: Of the computation; None: as the model is, and float32 for half precision.
        seed: Of the random groups, and of dropout.

    Returns:
        The estimates. The interval is a jackknife's over eight folds of groups, of 1/noise scale, turned over. Costs
        ``count`` batches' forward and backward passes for per-sample gradients or for each size, and three; memory
        for about twenty gradients, or 256 MiB.

    Raises:
        InputError: if a size or count is out of its range.
        SubjectError: if there are fewer than two groups.

    Validity:
        Samples drawn independently from what is trained on: sorted batches give too small a trace and too large a
        gradient. Dropout counts as noise. The scale is in samples; McCandlish et al. find it near the largest useful
        batch size for SGD, later in training and for well-tuned learning rates.

    Example:
        >>> from torch import nn
        >>> model = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.zeros_(model.weight)
        >>> batch = (torch.ones(4, 1), -torch.tensor([[1.0], [2.0], [3.0], [4.0]]))
        >>> half = lambda y, t: (y - t).square().mean() / 2
        >>> found = gradient_noise(model, batch, half).estimates[0]  # gradients 1, 2, 3, 4
        >>> round(found.trace, 4), round(found.gradient_square, 4)  # variance 5/3; 2.5² - (5/3)/4
        (1.6667, 5.8333)

    References:
        McCandlish et al. 2018, An empirical model of large-batch training, section 2.2 and appendix A.1.
    """
    if count < 1:
        raise InputError(
            f"gradient_noise: count must be at least 1, got {count}. One batch is enough for a first look."
        )
    subject = as_subject(subject_or_model, batches, loss)
    dtype = working_dtype(subject.model, dtype)
    objective = Objective(subject, batches=count, norms=norms, dtype=dtype, seed=seed)
    lengths = [batch_length(batch) for batch in objective.batches]
    found = coupling(objective, objective.batches[0], seed)
    alone = sizes is None and found.distance <= _COUPLED
    layers = layer_parameters(objective)
    rest = set(objective.names).difference(*layers.values())
    if rest:  # read outside of the model's modules, or not at all
        layers["(other)"] = tuple(name for name in objective.names if name in rest)
    estimates: list[NoiseEstimate] = []
    lost = 0
    for size in (1,) if alone else _sizes(sizes, lengths):
        folds = Folds(objective, layers)
        for rows in _gradients(objective, size, seed, alone=alone):
            folds.add(rows / size if found.summed else rows)
        lost += folds.non_finite
        estimates.append(_estimate(folds, size))
    method = "per-sample" if alone else "microbatches"
    note = _note(lost, summed=found.summed, coupled=not found.distance <= _COUPLED)
    return GradientNoise(method, found.distance, tuple(estimates), sum(lengths), lost, note)


def _sizes(sizes: Sequence[int] | None, lengths: Sequence[int]) -> tuple[int, ...]:
    least = min(lengths)
    chosen = tuple(sizes) if sizes is not None else tuple(sorted({max(2, least // 8), max(2, least // 4)}))
    if not chosen:
        raise InputError("gradient_noise: sizes must hold at least one size, got none. Leave it out, or pass (4, 8).")
    for size in chosen:
        groups = sum(length // size for length in lengths) if size >= 1 else 0
        if groups < 2:
            raise InputError(
                f"gradient_noise: sizes must be at least 1 and leave two groups, got {size} with batches of "
                f"{', '.join(map(str, lengths))} samples. Pass larger batches, or smaller sizes."
            )
    return chosen


def _gradients(objective: Objective, size: int, seed: int, *, alone: bool) -> Iterator[torch.Tensor]:
    """Gradients of independent groups, as the rows of matrices."""
    draw = 0  # each group's own, as in training: with equal ones the noise of dropout would be common to all, and G's
    for index, batch in enumerate(objective.batches):
        if alone:
            yield from sample_gradients(objective, batch, draw=draw)
            draw += batch_length(batch)
            continue
        order = permutation(batch, seed, index)
        for picks in order[: len(order) // size * size].split(size):
            yield objective.gradient(part_of(batch, picks), draw=draw)[1][None]
            draw += 1


def _estimate(folds: Folds, size: int) -> NoiseEstimate:
    if folds.groups < 2:
        raise SubjectError(
            f"gradient_noise: at least two samples must have finite gradients, got {folds.groups} groups of {size}. "
            "Pass more samples, or look at what is not finite with gainstage.check."
        )
    squares, traces = folds.moments(size)
    square, trace = sum(squares.values()), sum(traces.values())
    layers = tuple(
        LayerNoise(name, squares[name], traces[name], max(squares[name], 0.0) / traces[name] if traces[name] else None)
        for name in squares
    )
    return NoiseEstimate(size, folds.groups, square, trace, _scale(folds, size, square, trace), layers)


def _scale(folds: Folds, size: int, square: float, trace: float) -> Interval | None:
    """The interval is made for ‖G‖²/tr Σ, which has no pole where the gradient drowns in noise."""
    if trace <= 0:
        return Interval(0.0, 0.0, 0.0, folds.groups, 0.95) if square > 0 else None
    inverse = folds.signal_interval(size)
    low, high = (1 / end if end > 0 else math.inf for end in (inverse.high, inverse.low))
    return Interval(trace / square if square > 0 else math.inf, low, high, folds.groups, inverse.confidence)


def _note(lost: int, *, summed: bool, coupled: bool) -> str:
    parts: list[str] = []
    if coupled:
        parts.append("samples of a batch depend on each other: each estimate is that of training at its group size")
    if summed:
        parts.append("the loss is a sum over samples; G is the gradient of their mean")
    if lost:
        parts.append(f"{lost} groups without a finite gradient are left out")
    return "; ".join(parts)
