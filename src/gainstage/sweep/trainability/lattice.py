"""The points of a map: a logarithmic lattice, visited coarsely first and then along the boundary of what trains."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from gainstage.errors import InputError

Point = tuple[int, int]
# Points a decade of the finest lattice, and how many of its steps the first, coarse one takes at once.
PER_DECADE, STRIDE = 4, 4


@dataclass(frozen=True)
class Axis:
    """A logarithmic axis.

    Attributes:
        values: In rising order; all positive.
    """

    values: tuple[float, ...]

    @classmethod
    def between(cls, name: str, low: float, high: float) -> Axis:
        """`PER_DECADE` values a decade from ``low`` to ``high``, or up to a decade beyond.

        Raises:
            InputError: if they are not positive, or not in order.
        """
        if not 0 < low < high < math.inf:
            raise InputError(f"map: {name} must be positive and in order, got {low:g} to {high:g}. Give low,high.")
        steps = STRIDE * math.ceil(math.log10(high / low) * PER_DECADE / STRIDE - 1e-9)
        # Twelve digits: 10^(-2 + 2) is 1.
        return cls(tuple(float(f"{low * 10 ** (step / PER_DECADE):.12g}") for step in range(steps + 1)))

    def nearest(self, value: float) -> int:
        """The position of the value that is nearest, by the logarithm."""
        return min(range(len(self.values)), key=lambda index: abs(math.log(self.values[index] / value)))

    def decades(self, low: int, high: int) -> float:
        """The distance between two positions."""
        return math.log10(self.values[high] / self.values[low])

    def width(self, index: int) -> float:
        """The decades that a position stands for: halfway to its neighbours."""
        return self.decades(max(index - 1, 0), min(index + 1, len(self.values) - 1)) / 2


def coarse(scales: Axis, rates: Axis) -> list[Point]:
    """The points that are visited first: one a decade, from the middle outwards, where most is learned."""
    points = [
        (row, column) for row in range(0, len(scales.values), STRIDE) for column in range(0, len(rates.values), STRIDE)
    ]
    middle = (len(scales.values) // 2, len(rates.values) // 2)
    return sorted(points, key=lambda point: (math.dist(point, middle), point))


def between(labels: Mapping[Point, bool], stride: int) -> list[Point]:
    """The points halfway between neighbours of which one trains and the other does not.

    Args:
        labels: Whether it trains, by point.
        stride: Of the squares that are looked at; an even number.

    Returns:
        In order; points that have a label already are left out.
    """
    half = stride // 2
    wanted: set[Point] = set()
    for row, column in labels:
        corners = [(row + down, column + right) for down in (0, stride) for right in (0, stride)]
        if row % stride or column % stride or any(corner not in labels for corner in corners):
            continue
        if len({labels[corner] for corner in corners}) == 2:
            inner = ((row + half * down, column + half * right) for down in range(3) for right in range(3))
            wanted.update(point for point in inner if point not in labels)
    return sorted(wanted)
