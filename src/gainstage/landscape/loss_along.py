"""The loss along the direction of a step, over step sizes: how far one step may go."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from gainstage.errors import InputError, SubjectError, UnknownNameError
from gainstage.landscape.objective import Norms, Objective
from gainstage.landscape.preconditioner import adam_preconditioner
from gainstage.landscape.training import rate_ratios, set_rate_
from gainstage.landscape.update import proposed_update
from gainstage.numerics.arguments import require_positive
from gainstage.trace.subject import as_subject

Direction = Literal["gradient", "adam", "optimizer"]
DIRECTIONS: tuple[Direction, ...] = ("gradient", "adam", "optimizer")

# Bjorck et al. call a loss of a thousand diverged, where a network that knows nothing has one of about two.
DIVERGED = 1000 / math.log(10)
# A first step that promises this share of the loss, and how far the steps go from there.
_PROMISE, _FROM, _POINTS = 0.01, 0.1, 25


@dataclass(frozen=True)
class StepProfile:
    """Relative losses 1 + (L(w - ηu) - L(w)) / |L(w)| along a direction u: L(w - ηu)/L(w) from a positive start.

    Attributes:
        direction: ``gradient``, ``adam`` for the gradient over √v̂ + ε, or ``optimizer`` for the subject's own update.
        steps: η, ascending.
        losses: At the start, one for each batch.
        relative: For each batch, one for each step; inf where a loss was not finite or could not be computed. The
            direction is the batch's own. From a start of zero, one more than the loss.
        rises_at: The smallest η from which on the mean relative loss is above 1; inf if it is not up to the last.
        diverges_at: Likewise for the divergence threshold.
        best_step: Where the mean relative loss is lowest.
        slope: -dL/dη at the start, the mean over batches: what a step promises.
        equivalents: What it cost, in forward and backward passes.
        note: What to know of the figures; empty if there is nothing.
    """

    direction: Direction
    steps: tuple[float, ...]
    losses: tuple[float, ...]
    relative: tuple[tuple[float, ...], ...]
    rises_at: float
    diverges_at: float
    best_step: float
    slope: float
    equivalents: float
    note: str = ""

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean relative loss over the batches, one for each step."""
        return tuple(sum(column) / len(column) for column in zip(*self.relative, strict=True))

    def __str__(self) -> str:
        ends = f"up to {self.steps[-1]:.3g}"
        rise = f"rises above its start from {self.rises_at:.3g} on" if self.rises_at < math.inf else f"falls {ends}"
        return f"{self.direction}: the loss is lowest at a step of {self.best_step:.3g} and {rise}"


def step_profile(
    subject_or_model: Any,
    batches: Any = None,
    loss: Any = None,
    *,
    direction: Direction = "gradient",
    steps: Sequence[float] | None = None,
    count: int = 3,
    threshold: float = DIVERGED,
    norms: Norms = "as is",
    dtype: torch.dtype | None = None,
    seed: int = 0,
) -> StepProfile:
    """Returns the loss after one step, as a part of the loss before it, over the step's size, on several batches.

    1 + (L(w - ηu) - L(w)) / |L(w)|, which is L(w - ηu)/L(w) from a positive start: below 1 the loss has fallen.

    Args:
        subject_or_model: A `Subject`, or a model with batches and loss as in `Subject`.
        batches, loss: As in `Subject`.
        direction: u of each batch's gradient g: ``gradient``, g itself; ``adam``, g/(√v̂ + ε) with v̂ from the subject's
            Adam, or as after its first step; ``optimizer``, what the subject's optimizer would subtract at rate 1.
        steps: η; by default 25 over six decades, from a tenth of what promises a hundredth of the loss; fewer where
            the parameters' type holds no such numbers.
        count: How many batches.
        threshold: The relative loss that counts as divergence.
        norms: Batch normalization by its batch (``train``), by running statistics (``eval``), or as the model is.
        dtype: ``torch.float64`` is the careful path: steps whose effect rounding hides in float32 are seen. None: as
            the parameters are, the cheap path.
        seed: Of dropout, the same for all steps.

    Returns:
        `StepProfile`. Where the gradient is zero the profile is flat and `note` says so.

    Raises:
        InputError: if an argument is out of its range, or the direction needs an optimizer and there is none.
        SubjectError: if the subject cannot be differentiated.

    Validity:
        One step, on the batch that it was made of: training goes on where a single step goes up, and may break down
        where it goes down. Momentum is not in ``gradient``.

    Example:
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> _ = torch.nn.init.constant_(model.weight, 2.0)
        >>> found = step_profile(model, (torch.ones(4, 1), torch.zeros(4, 1)), steps=[0.25, 0.5, 0.9, 1.1])
        >>> [round(value, 3) for value in found.mean], found.rises_at  # w^2 at w = 2: a step goes to (1 - 2 eta) w
        ([0.25, 0.0, 0.64, 1.44], 1.1)

    References:
        Bjorck, Gomes, Selman and Weinberger 2018, Understanding batch normalization, Fig. 3.
    """
    if direction not in DIRECTIONS:
        raise UnknownNameError("step_profile", "direction", str(direction), DIRECTIONS)
    sizes = None if steps is None else tuple(sorted(_size(step) for step in steps))
    if sizes is not None and not sizes:
        raise InputError("step_profile: steps must hold at least one size, got none. Leave them out.")
    require_positive("step_profile", "threshold", threshold, "1000 is far from any start.")
    subject = as_subject(subject_or_model, batches, loss)
    objective = Objective(subject, batches=count, norms=norms, dtype=dtype, seed=seed)
    return profile_of(objective, direction=direction, steps=sizes, threshold=threshold)


def profile_of(
    objective: Objective,
    *,
    direction: Direction = "gradient",
    steps: tuple[float, ...] | None = None,
    threshold: float = DIVERGED,
    starts: Sequence[tuple[float, torch.Tensor]] | None = None,
) -> StepProfile:
    """`step_profile` on all batches of an objective; ``starts`` are their losses and gradients, if they are known."""
    before = objective.cost.equivalents
    starts = starts or [objective.gradient(batch) for batch in objective.batches]
    ways = [direction_of(objective, gradient, direction) for _, gradient in starts]
    slopes = [slope_along(gradient, way) for (_, gradient), way in zip(starts, ways, strict=True)]
    losses, slope = tuple(loss for loss, _ in starts), sum(slopes) / len(slopes)
    note = _note(losses, slope)
    largest = largest_step(objective)
    steps = steps or _default_steps(sum(losses) / len(losses), slope, largest)
    if steps[-1] > largest:
        raise InputError(
            f"step_profile: steps must be at most {largest:.3g}, the largest number of the parameters' type, got "
            f"{steps[-1]:.3g}. Leave them out, or pass dtype=torch.float64."
        )
    relative: list[tuple[float, ...]] = []
    for batch, loss, way in zip(objective.batches, losses, ways, strict=True):
        relative.append(tuple(_relative(objective, batch, way, step, loss) for step in steps))
    mean = [sum(column) / len(column) for column in zip(*relative, strict=True)]
    return StepProfile(
        direction, steps, losses, tuple(relative),
        rises_at=_beyond(steps, mean, 1.0), diverges_at=_beyond(steps, mean, threshold),
        best_step=steps[min(range(len(steps)), key=lambda place: mean[place])], slope=slope,
        equivalents=objective.cost.equivalents - before, note=note,
    )  # fmt: skip


def direction_of(objective: Objective, gradient: torch.Tensor, direction: Direction) -> torch.Tensor:
    """What a step of size 1 subtracts, as a vector over the parameters."""
    if direction == "gradient":
        return gradient
    if direction == "adam":
        return gradient * adam_preconditioner(objective, gradient).inverse_root.square()
    optimizer = objective.subject.optimizer
    if optimizer is None:
        raise InputError("step_profile: direction 'optimizer' needs a subject with one, got None. Take 'gradient'.")
    set_rate_(optimizer, 1.0, rate_ratios(optimizer))
    return -proposed_update(objective, gradient)


def slope_along(gradient: torch.Tensor, way: torch.Tensor) -> float:
    """What a small step promises: -dL/dη of w - ηu at zero."""
    # The square of a small gradient is below what float32 holds.
    return float(torch.dot(gradient.double(), way.double()))


def largest_step(objective: Objective) -> float:
    """The largest number of the parameters' types: no larger factor of a direction, or rate, can be written in them."""
    return min(torch.finfo(parameter.dtype).max for parameter in objective.parameters)


def _relative(objective: Objective, batch: Any, way: torch.Tensor, step: float, start: float) -> float:
    try:
        with objective.moved(way, -step):
            loss = objective.loss(batch)
    except SubjectError:  # such as a distribution that refuses its parameters; at the start it did not
        return math.inf
    if not math.isfinite(loss):
        return math.inf
    # As a quotient where it is one: a difference of losses far apart would be rounded.
    return loss / start if start > 0 else 1 + (loss - start) / (abs(start) or 1.0)


def _default_steps(loss: float, slope: float, largest: float) -> tuple[float, ...]:
    first = _FROM * _PROMISE * (abs(loss) or 1.0) / slope if slope > 0 and math.isfinite(loss) else 1e-4
    steps = tuple((first or 1e-4) * 10 ** (place / 4) for place in range(_POINTS))
    return tuple(step for step in steps if step <= largest) or (largest,)


def _beyond(steps: Sequence[float], mean: Sequence[float], limit: float) -> float:
    """The first step from which on all are beyond."""
    below = [place for place, value in enumerate(mean) if value <= limit]
    after = below[-1] + 1 if below else 0
    return steps[after] if after < len(steps) else math.inf


def _note(losses: Sequence[float], slope: float) -> str:
    if not all(math.isfinite(loss) for loss in losses):
        return f"the loss is {next(loss for loss in losses if not math.isfinite(loss))} before any step"
    if not math.isfinite(slope):
        return "the gradient is not finite"
    return "the gradient is zero: no step changes the loss" if slope == 0 else ""


def _size(step: float) -> float:
    return require_positive("step_profile", "steps", float(step), "Give step sizes such as 0.1.")
