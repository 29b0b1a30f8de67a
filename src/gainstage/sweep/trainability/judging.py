"""What trains, how wide its region is, and which learning rate to take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gainstage.sweep.trainability.lattice import Axis, Point
from gainstage.sweep.trainability.records import MapCell, Region

# The share of the best run's progress that counts as training.
HALF = 0.5
# Below this share of the starting loss the best run's progress is noise, and nothing trains.
LEAST_PROGRESS = 0.05
# A recommended learning rate stays so far below the largest that trains, where the range is wide enough.
MARGIN = 10**0.5


def judged(cells: Sequence[MapCell]) -> tuple[list[MapCell], float | None, float | None]:
    """The runs with their progress, and the losses between which it is measured.

    Args:
        cells: Runs of all variants: they share one measure.

    Returns:
        The runs; the lowest initial and the lowest final loss, None without a finite one.
    """
    starts = [cell.initial for cell in cells if cell.initial is not None]
    ends = [cell.final for cell in cells if cell.final is not None and cell.diverged_at is None]
    if not starts or not ends:
        return list(cells), min(starts, default=None), min(ends, default=None)
    start, best = min(starts), min(ends)
    if start - best < LEAST_PROGRESS * abs(start):
        return [replace(cell, progress=0.0, trains=False) for cell in cells], start, best
    found: list[MapCell] = []
    for cell in cells:
        lost = cell.final is None or cell.diverged_at is not None
        progress = -1.0 if lost or cell.final is None else max(-1.0, (start - cell.final) / (start - best))
        found.append(replace(cell, progress=round(progress, 6), trains=progress >= HALF))
    return found, start, best


def region(norm: str, runs: Mapping[Point, MapCell], scales: Axis, rates: Axis) -> Region:
    """Where a variant trains.

    Args:
        norm: Its name.
        runs: Every point of the finest lattice, as `TrainabilityMap.filled` has it.
        scales, rates: The axes.
    """
    trained = {point for point, cell in runs.items() if cell.trains}
    area = sum(scales.width(row) * rates.width(column) for row, column in trained)
    finals = [cell for cell in runs.values() if cell.trains and cell.final is not None]
    if not finals:
        return Region(norm, area=area)
    top = min(finals, key=lambda cell: (cell.final or 0.0, cell.scale, cell.lr))
    best = (top.scale, top.lr, top.final or 0.0)
    own = scales.nearest(1.0)
    row = {column: runs[own, column] for column in range(len(rates.values))}
    columns = [column for column, cell in row.items() if cell.trains]
    if not columns:
        return Region(norm, area=area, best=best)
    low, high = _run_around(min(columns, key=lambda c: (row[c].final or 0.0, c)), set(columns))
    chosen = _recommended(row, rates, low, high)
    smallest, largest = _run_around(own, {r for r, c in trained if c == chosen})
    return Region(
        norm, rates.values[low], rates.values[high], rates.decades(low, high),
        scales.values[smallest], scales.values[largest], scales.decades(smallest, largest), area, best,
        rates.values[chosen], rates.values[high] / rates.values[chosen],
        to_edge=low == 0 or high == len(rates.values) - 1,
    )  # fmt: skip


def _run_around(start: int, inside: set[int]) -> tuple[int, int]:
    """The first and the last of the positions without a gap around one of them."""
    low = high = start
    while low - 1 in inside:
        low -= 1
    while high + 1 in inside:
        high += 1
    return low, high


def _recommended(row: Mapping[int, MapCell], rates: Axis, low: int, high: int) -> int:
    """The best learning rate with a margin to the edge; the middle of a range too narrow for one."""
    safe = [column for column in range(low, high + 1) if rates.values[column] * MARGIN <= rates.values[high] * 1.001]
    if not safe:
        return (low + high) // 2
    return min(safe, key=lambda column: (row[column].final or 0.0, column))
