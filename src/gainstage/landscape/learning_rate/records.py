"""What a suggested learning rate rests on, as records without torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ShortRun:
    """A few steps at a constant rate.

    Attributes:
        lr: The rate.
        losses: One a step; shorter if it broke down.
        last: Median of the last few; inf if it broke down.
        held: Whether it ended below the loss of a network that knows nothing.
    """

    lr: float
    losses: tuple[float, ...]
    last: float
    held: bool
