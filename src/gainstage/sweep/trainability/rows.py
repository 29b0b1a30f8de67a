"""A map from the rows of a sweep over initial scale and learning rate."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from gainstage.errors import InputError
from gainstage.sweep.cells import Row
from gainstage.sweep.trainability.judging import judged, region
from gainstage.sweep.trainability.lattice import Axis
from gainstage.sweep.trainability.records import MapCell, TrainabilityMap

# What a run is judged by: the first of these that was measured.
METRICS = ("train_loss", "batch_loss", "test_loss")
_AXES = ("scale", "lr", "seed")


def map_of_rows(rows: Iterable[Row], *, name: str = "") -> TrainabilityMap:
    """The map of a sweep: over its axes ``scale`` and ``lr``, one variant for each combination of its other axes.

    Runs that differ in the seed alone are one field: the median of their losses; it diverged if most of them did.

    Args:
        rows: Of a sweep that measured a loss, at its beginning too.
        name: Of the map.

    Returns:
        The map; its resolution is the wider gap of the two axes.

    Raises:
        InputError: if there is no learning rate, or no loss, or one of the axes is not positive.

    Example:
        >>> rows = [Row("a", {"lr": lr}, (0, 10), {"train_loss": (2.0, end)}) for lr, end in ((0.1, 1.0), (1.0, 3.0))]
        >>> [cell.trains for cell in map_of_rows(rows).cells]
        [True, False]
    """
    rows = [row for row in rows if row.error is None]
    metric = next((metric for metric in METRICS if any(metric in row.curves for row in rows)), None)
    if metric is None or any("lr" not in row.values for row in rows):
        raise InputError(
            f"map: the sweep must vary lr and measure one of {', '.join(METRICS)}, got "
            f"{len(rows)} rows without. Add the axis, or the metric."
        )
    least = min(min(float(row.values["lr"]), float(row.values.get("scale", 1.0))) for row in rows)
    if not least > 0:
        raise InputError(
            f"map: lr and scale must be positive, got {least:g}: the map's axes are logarithmic. Leave it out."
        )
    scales = Axis(tuple(sorted({float(row.values.get("scale", 1.0)) for row in rows})))
    rates = Axis(tuple(sorted({float(row.values["lr"]) for row in rows})))
    cells, start, best = judged(_cells(rows, metric))
    optimizers = dict.fromkeys(str(row.values.get("optimizer", "sgd")) for row in rows)
    found = TrainabilityMap(
        name, ", ".join(optimizers), max(row.steps[-1] for row in rows if row.steps), scales, rates, tuple(cells), (),
        start=start, best=best, resolution=max(_widest(scales), _widest(rates)),
    )  # fmt: skip
    variants = dict.fromkeys(cell.norm for cell in cells)
    return replace(found, regions=tuple(region(variant, found.filled(variant), scales, rates) for variant in variants))


def _cells(rows: Sequence[Row], metric: str) -> list[MapCell]:
    varied = {key for row in rows for key in row.values if len({repr(other.values.get(key)) for other in rows}) > 1}
    groups: dict[tuple[str, float, float], list[Row]] = defaultdict(list)
    for row in rows:
        others = [f"{key} {value}" for key, value in row.values.items() if key in varied and key not in _AXES]
        variant = ", ".join(others) or "all"
        groups[variant, float(row.values.get("scale", 1.0)), float(row.values["lr"])].append(row)
    return [_cell(*where, runs, metric) for where, runs in groups.items()]


def _cell(variant: str, scale: float, lr: float, runs: Sequence[Row], metric: str) -> MapCell:
    lost = [row.diverged_at for row in runs if row.diverged_at is not None]
    curves = [row.curves.get(metric) or (math.nan,) for row in runs]
    return MapCell(
        variant, scale, lr, _median(curve[0] for curve in curves), _median(curve[-1] for curve in curves),
        min(lost) if 2 * len(lost) > len(runs) else None,
    )  # fmt: skip


def _median(values: Iterable[float]) -> float | None:
    """Of the finite ones; None where there are fewer than half."""
    given = list(values)
    finite = [value for value in given if math.isfinite(value)]
    return statistics.median(finite) if 2 * len(finite) >= len(given) and finite else None


def _widest(axis: Axis) -> float:
    gaps = [axis.decades(index, index + 1) for index in range(len(axis.values) - 1)]
    return round(max(gaps, default=0.0), 3)
