"""What a suggested learning rate rests on, as records without torch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from gainstage.landscape.loss_along import StepProfile


@dataclass(frozen=True)
class ShortRun:
    """A few steps at a constant rate.

    Attributes:
        lr: The rate.
        losses: One for each step, before it; shorter if it broke down.
        last: Median of the last few; inf if it broke down.
        held: Whether it ended below the loss of a network that knows nothing.
    """

    lr: float
    losses: tuple[float, ...]
    last: float
    held: bool


@dataclass(frozen=True)
class LearningRate:
    """A suggested learning rate, and all that it rests on.

    Attributes:
        recommended: Where to start; of the parameter group with the largest rate, if there are several.
        safe_max: Above it runs are likely to break down.
        optimizer: In words.
        family: ``plain``, ``momentum`` or ``adaptive``: whose margins were taken.
        reason: Why so, in a sentence or two.
        validity: For what it holds, one sentence.
        notes: What else to know, each a sentence.
        held: The largest rate whose short run held; None if none did.
        lost: The smallest whose run did not; None if none was found.
        runs: All short runs, by rate.
        ramp: Rates and losses of the ramp.
        reference: The loss of a network that knows nothing: a run must stay below it.
        start: The loss before any step.
        curvature_limit: 2/λ_max of the first batch, the largest stable rate of plain gradient descent on its quadratic
            model; None if no direction bends upwards, or the model cannot be differentiated twice.
        profile: The loss along the first update.
        noise: Of a batch's gradient: the trace of its covariance over the square of the mean's length; 0 for one batch.
        equivalents: What it cost, in forward and backward passes.
        name: Of the subject.
    """

    recommended: float
    safe_max: float
    optimizer: str
    family: str
    reason: str
    validity: str
    notes: tuple[str, ...]
    held: float | None
    lost: float | None
    runs: tuple[ShortRun, ...]
    ramp: tuple[tuple[float, ...], tuple[float, ...]]
    reference: float
    start: float
    curvature_limit: float | None
    profile: StepProfile
    noise: float
    equivalents: float
    name: str = ""

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain numbers, lists and texts; what is not finite is None."""
        return _plain(asdict(self))

    def __str__(self) -> str:
        return (
            f"learning rate {self.recommended:.2g}, at most {self.safe_max:.2g}, for {self.optimizer}: {self.reason} "
            f"{self.validity}"
        )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
