"""`suggest_lr`: from noise, step profile, curvature and short runs to a rate, within sixty passes forward and back.

gradients of some batches   ->  noise between batches
step profile                ->  the rate whose first step promises a small share of the loss
curvature                   ->  2/λ_max, for comparison
ramp, short runs            ->  the edge of training (`search`)
margins measured on a development set  ->  safe maximum, recommended rate
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from gainstage.errors import SubjectError
from gainstage.landscape.eigenvalues import curvature_of
from gainstage.landscape.learning_rate.margins import edge_of, recommended_rate, safe_rate
from gainstage.landscape.learning_rate.records import LearningRate
from gainstage.landscape.learning_rate.search import Search
from gainstage.landscape.learning_rate.updates import Updates, require_name, updates
from gainstage.landscape.learning_rate.wording import VALIDITY, notes_of, reason_of
from gainstage.landscape.loss_along import StepProfile, direction_of, largest_step, profile_of, slope_along
from gainstage.landscape.objective import Objective
from gainstage.landscape.stability import stable_lr
from gainstage.landscape.training import BATCHES, gradients_kept
from gainstage.landscape.zero_output import zero_output_loss
from gainstage.seeding import preserved_rng
from gainstage.trace.copies import copied
from gainstage.trace.lazy_layers import built
from gainstage.trace.subject import Subject, as_subject

# All of it costs at most so many forward and backward passes.
MOST = 60
# Batches whose gradients tell the noise; products for the curvature.
_NOISE_BATCHES, _PRODUCTS = 4, 2
# By what a ramp, which doubles the rate before it sees the harm, comes out above the edge of constant rates.
_OVERSHOOT = 2.0
# What the first step of the profile promises, as a share of the loss, and by what its steps grow.
_PROMISE, _POINTS, _SPACING = 0.02, 6, 4.0


@dataclass(frozen=True)
class Measured:
    """What was measured before any run.

    Attributes:
        start: The loss before any step, the mean over batches.
        highest: The same of the batch where it is highest.
        reference: The loss of outputs that are all zero, or the start if that is lower.
        noise: Of a batch's gradient: the trace of its covariance over the square of the mean's length.
        profile: The loss along the first update, from the rate on that promises a fiftieth of the loss.
        limit: 2/λ_max, or None.
        largest: Rate, that the parameters' type can hold.
        cost: In forward and backward passes.
    """

    start: float
    highest: float
    reference: float
    noise: float
    profile: StepProfile
    limit: float | None
    largest: float
    cost: float


def suggest_lr(
    subject_or_model: Any,
    batches: Any = None,
    loss: Any = None,
    *,
    optimizer: str | None = None,
    seed: int = 0,
) -> LearningRate:
    """Returns a safe maximum and a recommended learning rate, with what they rest on.

    Copies are trained for a few steps at rates around the edge of training, which halving brackets; the safe maximum
    lies below it by a margin, and the recommended rate further, the more so the noisier the gradients are and the
    smaller the rate is whose first step promises progress. Nothing of the subject changes, also on failure.

    Args:
        subject_or_model: A `Subject`, or a model with batches and loss as in `Subject`. Sixteen different batches or
            more say most.
        batches, loss: As in `Subject`.
        optimizer: ``sgd``, ``momentum`` (SGD with 0.9), ``adam`` or ``adamw``, as torch builds them; None: the
            subject's own, with its state and the ratios of its groups' rates, or Adam if it has none.
        seed: Of the batches' order and of dropout.

    Returns:
        `LearningRate`, at a cost of at most 60 forward and backward passes.

    Raises:
        UnknownNameError: if there is no such optimizer.
        SubjectError: if the loss or its gradient is not finite, the gradient is zero, the optimizer does not step
            downhill at a learning rate, or the subject cannot be trained: then no learning rate helps.

    Validity:
        For some hundred steps at a constant rate from the weights as they are; margins were measured on small networks
        (`docs/learning-rate.md`). The model is trained in training mode, whatever its mode is.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> inputs = torch.randn(512, 4)
        >>> batches = list(zip(inputs.split(32), inputs.sum(1, keepdim=True).split(32)))
        >>> found = suggest_lr(torch.nn.Linear(4, 1), batches, optimizer="sgd")
        >>> 0.02 < found.recommended <= found.safe_max < 1.0, found.equivalents <= 60
        (True, True)

    References:
        Smith 2017, Cyclical learning rates for training neural networks (ramps); McCandlish et al. 2018, An empirical
        model of large-batch training (noise); Cohen et al. 2021 (curvature and the largest stable rate).
    """
    subject = as_subject(subject_or_model, batches, loss)
    require_name(optimizer)
    with preserved_rng(seed), gradients_kept(subject):
        chosen = updates(_trainable(subject), optimizer)
        # A lazy model was built by a forward pass.
        measured = _measured(chosen.subject, seed, before=int(any(map(is_lazy, subject.model.parameters()))))
        search = Search(chosen.subject, measured.highest, measured.reference, seed, measured.largest)
        guess = search.ramped(measured.profile.steps[0]) / _OVERSHOOT
        held, lost = search.edge(guess, math.floor(MOST - measured.cost) - search.steps)
    return _judged(subject, chosen, measured, search, held, lost)


def _trainable(subject: Subject) -> Subject:
    """The subject with its batches read once, built if it is lazy, and in training mode."""
    # A loader that shuffles would give every run other batches.
    cached = subject.replace(batches=subject.batches.take(BATCHES))
    ready = built(cached, cached.batches.first())
    if ready.model.training:
        return ready
    # Handed over for evaluation, it is trained all the same.
    ready = copied(ready)
    ready.model.train()
    return ready


def _measured(subject: Subject, seed: int, before: int) -> Measured:
    objective = Objective(subject, batches=_NOISE_BATCHES, seed=seed)
    objective.cost.forwards += before
    first = objective.gradient(objective.batches[0])
    total, squares, losses = torch.zeros_like(first[1]), 0.0, list[float]()
    for place, batch in enumerate(objective.batches):
        loss, gradient = first if place == 0 else objective.gradient(batch)
        total += gradient
        squares += float(gradient.double().square().sum())
        losses.append(loss)
    count, start = len(losses), sum(losses) / len(losses)
    length = float(total.double().norm()) / count
    _require_usable(start, length)
    spread = max(0.0, squares - count * length**2) / max(1, count - 1)
    objective.batches = objective.batches[:1]
    zero = zero_output_loss(objective)
    reference = start if zero is None else min(start, zero)
    profile = _profile(objective, first, start)
    limit = _limit(objective, seed)
    return Measured(
        start, max(losses), reference, spread / length**2 if count > 1 else 0.0, profile, limit,
        largest_step(objective), objective.cost.equivalents,
    )  # fmt: skip


def _require_usable(start: float, length: float) -> None:
    if not math.isfinite(start):
        raise SubjectError(
            f"suggest_lr: the loss must be finite before any step, got {start}. No learning rate mends that: "
            "gainstage check names where it begins."
        )
    if not math.isfinite(length) or length**2 == 0:
        size = "is zero" if length == 0 else f"has length {length:.2g}"
        raise SubjectError(
            f"suggest_lr: the gradient must be finite and not zero, got one that {size}. No learning rate mends that: "
            "gainstage check names where it begins."
        )


def _profile(objective: Objective, first: tuple[float, torch.Tensor], start: float) -> StepProfile:
    """Along the optimizer's first update, from the rate that promises a small share of the loss."""
    _, gradient = first
    way = direction_of(objective, gradient, "optimizer")
    _require_finite_update(objective, way)
    slope = slope_along(gradient, way)
    # A state from other steps may point upwards; the plain gradient tells a scale all the same.
    slope = slope if slope > 0 and math.isfinite(slope) else slope_along(gradient, gradient)
    largest = largest_step(objective)
    promising = _PROMISE * (abs(start) or 1.0) / slope if slope else math.inf
    if promising > largest:
        raise SubjectError(
            f"suggest_lr: the gradient must be large enough for a rate up to {largest:.2g}, which the parameters' type "
            f"can hold, got one of length {float(gradient.double().norm()):.2g}. Scale the loss up."
        )
    steps = tuple(promising * _SPACING**place for place in range(_POINTS))
    within = tuple(step for step in steps if step <= largest)
    return profile_of(objective, direction="optimizer", steps=within, starts=[first])


def _require_finite_update(objective: Objective, way: torch.Tensor) -> None:
    if not bool(way.isfinite().all()):
        kind, types = type(objective.subject.optimizer).__name__, sorted({str(p.dtype) for p in objective.parameters})
        raise SubjectError(
            f"suggest_lr: the optimizer's update must be finite, got one that is not ({kind} on {', '.join(types)}). "
            "Keep parameters and optimizer state in float32, and compute in half precision by autocast."
        )


def _limit(objective: Objective, seed: int) -> float | None:
    """2/λ_max of the first batch, roughly; None where it cannot be had."""
    try:
        sharpness = curvature_of(objective, most=_PRODUCTS, seed=seed).sharpness
    except SubjectError:  # cannot be differentiated twice
        return None
    return stable_lr(sharpness) if math.isfinite(sharpness) and sharpness > 0 else None


def _judged(
    subject: Subject, chosen: Updates, measured: Measured, search: Search, held: float, lost: float
) -> LearningRate:
    edge = edge_of(held, lost)
    safe = safe_rate(edge)
    best = min(safe, recommended_rate(chosen.family, edge, measured.profile.steps[0], measured.noise))
    return LearningRate(
        recommended=best, safe_max=safe, optimizer=chosen.name, family=chosen.family,
        reason=reason_of(best, edge, held, lost, measured.noise), validity=VALIDITY,
        notes=notes_of(subject, chosen, search, measured.profile, measured.limit, safe), held=held or None,
        lost=lost if lost < math.inf else None, runs=tuple(sorted(search.runs, key=lambda run: run.lr)),
        ramp=search.ramp, reference=measured.reference, start=measured.start, curvature_limit=measured.limit,
        profile=measured.profile, noise=measured.noise, equivalents=measured.cost + search.steps, name=subject.name,
    )  # fmt: skip
