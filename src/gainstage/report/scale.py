"""The logarithmic scale that all meters of a column share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_FEWEST_DECADES = 4
_MOST_DECADES = 24


@dataclass(frozen=True)
class LogScale:
    """From 10^low to 10^high.

    Attributes:
        low, high: Whole decades.
    """

    low: int
    high: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> LogScale:
        """The decades that hold all positive finite values.

        Four at the least, so that a steady network does not look dramatic; 24 at the most, counted from the
        top: what is smaller has an empty bar, and its figure beside it.
        """
        logs = [math.log10(v) for v in values if v is not None and 0 < v < math.inf]
        if not logs:
            return cls(-2, 2)
        low, high = math.floor(min(logs)), math.ceil(max(logs))
        while high - low < _FEWEST_DECADES:
            low, high = (low - 1, high) if (high - low) % 2 == 0 else (low, high + 1)
        return cls(max(low, high - _MOST_DECADES), high)

    @property
    def decades(self) -> int:
        """How many decades it spans."""
        return self.high - self.low

    def position(self, value: float | None) -> float:
        """Where a value stands, from 0 (left end, and what is zero, missing or NaN) to 1."""
        if value is None or not value > 0:
            return 0.0
        if math.isinf(value):
            return 1.0
        return min(1.0, max(0.0, (math.log10(value) - self.low) / self.decades))

    def ticks(self, most: int = 5) -> tuple[tuple[float, int], ...]:
        """Position and exponent of at most ``most`` evenly spaced decades, the ends among them where it divides."""
        step = next(s for s in range(1, self.decades + 1) if self.decades // s < most)
        return tuple(((e - self.low) / self.decades, e) for e in range(self.low, self.high + 1, step))


def power_of_ten(exponent: int, *, ascii_only: bool = False) -> str:
    """``1``, ``10``, ``10⁻⁸``; ``1e-8`` in ASCII."""
    if exponent in (0, 1):
        return "10" if exponent else "1"
    if ascii_only:
        return f"1e{exponent}"
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
