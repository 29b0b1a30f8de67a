"""How smooth the loss is along its gradient: the three measures of Santurkar et al., also relative to the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import torch

from gainstage.errors import InputError
from gainstage.landscape.objective import Norms, Objective
from gainstage.landscape.precision import working_dtype
from gainstage.numerics import require_positive
from gainstage.trace.subject import as_subject

Metric = Literal["absolute", "relative", "filter"]


@dataclass(frozen=True)
class Smoothness:
    """What was found along the gradient of one batch.

    Attributes:
        metric: In which the steps and the gradients are measured.
        loss: L(w), where the steps start.
        gradient_norm: ‖G‖, of the gradient in this metric.
        loss_range: max L - min L over the steps.
        gradient_predictiveness: max ‖G(step) - G‖ over the steps; small is predictive.
        beta_smoothness: max ‖G(step) - G‖/distance; None where there is no gradient to go along.
        steps: Their sizes, in units of the metric.
        losses: At each of them.
        gradient_changes: ‖G(step) - G‖ at each of them.
        non_finite: At how many steps the loss or the gradient was not finite; the measures are then infinite.
        note: Why a measure is infinite, None or inexact; empty else.
    """

    metric: Metric
    loss: float
    gradient_norm: float
    loss_range: float
    gradient_predictiveness: float
    beta_smoothness: float | None
    steps: tuple[float, ...]
    losses: tuple[float, ...]
    gradient_changes: tuple[float, ...]
    non_finite: int = 0
    note: str = ""


def smoothness(
    subject_or_model: Any,
    batches: Any = None,
    loss: Any = None,
    *,
    lr: float,
    metric: Metric = "absolute",
    steps: tuple[float, float] = (0.5, 4.0),
    cap: float | None = 0.4,
    count: int = 8,
    norms: Norms = "as is",
    dtype: torch.dtype | None = None,
    seed: int = 0,
) -> Smoothness:
    """Returns loss range, gradient predictiveness and effective β-smoothness along the gradient g of one batch.

    With step sizes η evenly from steps[0]·lr to min(steps[1]·lr, cap):

    - loss range: max L(w - ηg) - min L(w - ηg);
    - gradient predictiveness: max ‖g(w - ηg) - g‖;
    - effective β-smoothness: max ‖g(w - ηg) - g‖/(η‖g‖).

    These are of the ``absolute`` metric. They change when weights are rescaled without any change of the function, as
    batch norm allows: β(aw) = β(w)/a². In the other metrics the coordinates are z = w/s with s kept as it is at the
    start, so that gradients are G = s·g and distances ‖Δw/s‖:

    - ``relative``: s = ‖w‖, one number for all parameters. A step η goes to w - η‖w‖ g/‖g‖, a share η of the norm;
    - ``filter``: s = ‖w_f‖ for each filter f, a row of a parameter of two or more dimensions; the other parameters
      stay (s = 0). A step η moves each filter by η‖w_f‖ g_f/‖g_f‖, Li et al.'s filter-normalized direction, which is
      a distance of η√F for F filters with a gradient.

    Args:
        subject_or_model, batches, loss: As in `gainstage.check`; the first batch is used.
        lr: The step size around which to look; a share of the norm in the other metrics (0.01 is one percent).
        metric: As above.
        steps: The smallest and the largest step, in units of lr.
        cap: No step is larger than this; None for no cap.
        count: How many steps, both ends among them.
        norms: As in `Objective`.
        dtype: Of the computation; None: as the model is, and float32 for half precision.
        seed: Of the random numbers (dropout), the same at every step.

    Returns:
        The measures; the whole curves beside them. Costs 1 + count forward and backward passes.

    Raises:
        InputError: if an argument is out of its range, or the cap leaves no step.

    Validity:
        Along one direction only: a lower bound of the true constants, and of a maximum over few points. Compare two
        networks at equal step sizes only if neither is scale-invariant, else in another metric. ``filter`` is
        invariant where every filter is followed by a norm of its own. In float32, steps below about 1e-6 of the
        weights are rounding; the note says so.

    Example:
        >>> from torch import nn
        >>> model = nn.Linear(2, 1, bias=False)
        >>> _ = nn.init.ones_(model.weight)
        >>> half = lambda y, t: y.square().sum() / 2
        >>> batch = (torch.diag(torch.tensor([1.0, 2.0])), torch.zeros(2, 1))
        >>> found = smoothness(model, batch, half, lr=0.1)
        >>> round(found.beta_smoothness, 4)  # ‖AAw‖/‖Aw‖ with A = diag(1, 4)
        3.8881

    References:
        Santurkar et al. 2018, How does batch normalization help optimization, Fig. 4; Li et al. 2018, Visualizing the
        loss landscape of neural nets.
    """
    sizes = _sizes(lr, steps, cap, count)
    if metric not in get_args(Metric):
        raise InputError(f"smoothness: metric must be one of {', '.join(get_args(Metric))}, got {metric!r}.")
    subject = as_subject(subject_or_model, batches, loss)
    dtype = working_dtype(subject.model, dtype)
    objective = Objective(subject, norms=norms, dtype=dtype, seed=seed)
    batch = objective.batches[0]
    start, gradient = objective.gradient(batch)
    scale, direction = _scaled(objective, gradient, metric)
    distance = _distance(direction, scale)
    if not (math.isfinite(start) and bool(gradient.isfinite().all())):
        return _without(metric, start, math.inf, sizes, "the loss or its gradient is not finite where the steps start")
    size = _norm(scale * gradient)
    if not distance > 0:
        return _without(metric, start, size, sizes, "there is no gradient to go along")
    found = [_at(objective, batch, gradient, scale, direction, step) for step in sizes]
    measured = _smoothness(metric, start, size, distance, sizes, found)
    return measured if measured.note else replace(measured, note=_rounding(objective.point(), direction, measured))


def _sizes(lr: float, steps: tuple[float, float], cap: float | None, count: int) -> tuple[float, ...]:
    require_positive("smoothness", "lr", lr, "Give the step size of training.")
    low, high = (
        require_positive("smoothness", "steps", end, "Give multiples of lr such as (0.5, 4).") for end in steps
    )
    if count < 1:
        raise InputError(f"smoothness: count must be at least 1, got {count}. Leave it at 8.")
    least, most = low * lr, min(high * lr, math.inf if cap is None else cap)
    if least > most:
        raise InputError(
            f"smoothness: steps must leave a range below the cap, got {least:g} to {most:g}. "
            "Pass cap=None, or a smaller lr."
        )
    return tuple(float(step) for step in np.linspace(least, most, count))


def _scaled(objective: Objective, gradient: torch.Tensor, metric: Metric) -> tuple[torch.Tensor, torch.Tensor]:
    """The coordinates' scale s, and how far a step of size 1 moves the parameters."""
    if metric == "absolute":
        return torch.ones_like(gradient), gradient
    point = objective.point()
    if metric == "relative":
        scale = torch.full_like(gradient, _norm(point))
        return scale, scale * _unit(gradient)
    scales = [_rows(part) for part in objective.split(point).values()]
    units = [_unit_rows(part) for part in objective.split(gradient).values()]
    scale = objective.flat(scales)
    return scale, scale * objective.flat(units)


def _rows(part: torch.Tensor) -> torch.Tensor:
    if part.ndim < 2:
        return torch.zeros_like(part)
    norms = part.flatten(1).norm(dim=1)
    return norms.view(-1, *[1] * (part.ndim - 1)).expand_as(part)


def _unit_rows(part: torch.Tensor) -> torch.Tensor:
    norms = _rows(part)
    return torch.where(norms > 0, part / norms, torch.zeros_like(part))


def _unit(vector: torch.Tensor) -> torch.Tensor:
    norm = _norm(vector)
    return vector / norm if norm > 0 else torch.zeros_like(vector)


def _norm(vector: torch.Tensor) -> float:
    # A float32 sum over millions of squares loses digits that the differences below need.
    return float(vector.double().norm())


def _distance(direction: torch.Tensor, scale: torch.Tensor) -> float:
    """In the metric's coordinates, of a step of size 1."""
    return _norm(torch.where(scale > 0, direction / scale, torch.zeros_like(direction)))


def _at(
    objective: Objective, batch: Any, gradient: torch.Tensor, scale: torch.Tensor, direction: torch.Tensor, step: float
) -> tuple[float, float]:
    with objective.moved(direction, -step):
        loss, there = objective.gradient(batch)
    return loss, _norm(scale * (there.double() - gradient.double()))


def _smoothness(
    metric: Metric, start: float, size: float, distance: float, sizes: Sequence[float], found: list[tuple[float, float]]
) -> Smoothness:
    losses, changes = (tuple(column) for column in zip(*found, strict=True))
    bad = sum(not (math.isfinite(loss) and math.isfinite(change)) for loss, change in found)
    ratios = [change / (step * distance) for change, step in zip(changes, sizes, strict=True)]
    return Smoothness(
        metric, start, size,
        loss_range=math.inf if bad else max(losses) - min(losses),
        gradient_predictiveness=math.inf if bad else max(changes),
        beta_smoothness=math.inf if bad else max(ratios),
        steps=tuple(sizes), losses=losses, gradient_changes=changes, non_finite=bad,
        note=f"the loss or its gradient is not finite at {bad} of {len(sizes)} steps" if bad else "",
    )  # fmt: skip


def _rounding(point: torch.Tensor, direction: torch.Tensor, found: Smoothness) -> str:
    """A word of warning where the weights' or the losses' rounding is a part of what is measured."""
    unit = float(torch.finfo(point.dtype).eps)
    coarse = unit * _norm(point) > 0.1 * found.steps[0] * _norm(direction)
    flat = unit * max(abs(loss) for loss in found.losses) > 0.01 * found.loss_range
    if not (coarse or flat):
        return ""
    what = "the steps" if coarse else "the loss range"
    advice = "take larger steps" if point.dtype is torch.float64 else "pass dtype=torch.float64, or take larger steps"
    return f"{what} cannot be told well from rounding in {point.dtype}: {advice}"


def _without(metric: Metric, start: float, size: float, sizes: tuple[float, ...], note: str) -> Smoothness:
    """Of a point without a finite gradient, or with a zero one: nothing moves."""
    still = math.isfinite(start) and math.isfinite(size)
    bad = 0 if still else len(sizes)
    flat = 0.0 if still else math.inf
    changes = (flat,) * len(sizes)
    beta = None if still else math.inf
    return Smoothness(metric, start, size, flat, flat, beta, sizes, (start,) * len(sizes), changes, bad, note)
