"""What one asks a sweep, as functions of its rows: the best setting, the largest stable value, the good range.

Rows are gone through once and reduced to a figure for each cell. Groups are named by the axes in ``by``; axes that
are neither there nor asked about are tuned: a value counts by its best setting of them. Seeds are repetitions: what
is told of each is averaged, with Student's t interval.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gainstage.errors import InputError, UnknownNameError
from gainstage.numerics.intervals import Interval, paired_interval
from gainstage.sweep.cells import Row

Group = tuple[tuple[str, Any], ...]
# Of one group and one seed: value of the axis to the figure there.
Line = dict[float, float]


@dataclass(frozen=True)
class Best:
    """A group's best setting.

    Attributes:
        group: Values of the axes in ``by``.
        values: All values of the setting, without the seed.
        interval: Of the metric's mean over seeds.
    """

    group: dict[str, Any]
    values: dict[str, Any]
    interval: Interval


@dataclass(frozen=True)
class Stable:
    """Up to where a group trains.

    Attributes:
        group: Values of the axes in ``by``.
        value: Geometric mean over seeds of the largest stable value; None if no seed has one.
        interval: Of that; does not know the grid's spacing, which may be wider.
        beyond: Seeds that are stable up to the end of the grid: for them the value is a lower bound.
        never: Seeds that are stable nowhere; they are left out of the mean.
    """

    group: dict[str, Any]
    value: float | None
    interval: Interval | None
    beyond: int
    never: int


@dataclass(frozen=True)
class Decades:
    """How wide a group's good range is.

    Attributes:
        group: Values of the axes in ``by``.
        interval: Of the width in decades, log10(last/first), its mean over seeds; None if no seed trains.
        open_ended: Seeds whose range reaches an end of the grid: for them the width is a lower bound.
        never: Seeds without a finite figure anywhere; they are left out of the mean.
    """

    group: dict[str, Any]
    interval: Interval | None
    open_ended: int
    never: int


def axes(rows: Iterable[Row]) -> dict[str, list[Any]]:
    """The names that take more than one value, each with its values in the order of appearance.

    Example:
        >>> axes([Row("a", {"lr": 0.1, "width": 8}), Row("b", {"lr": 0.2, "width": 8})])
        {'lr': [0.1, 0.2]}
    """
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        for name, value in row.values.items():
            found.setdefault(name, {}).setdefault(_text(value), value)
    return {name: list(values.values()) for name, values in found.items() if len(values) > 1}


def best(
    rows: Iterable[Row], metric: str, *, by: Sequence[str] = (), seed: str = "seed", higher: bool | None = None
) -> list[Best]:
    """The setting with the best mean over seeds, of each group.

    Args:
        rows: Of a sweep.
        metric: Its last figure counts. One that diverged with any seed is out: others' luck is no merit.
        by: Axes whose values name a group; the default is one group of everything.
        seed: The name of the repetitions.
        higher: Whether more is better; by default it is for names that end in ``accuracy``.

    Returns:
        One for each group in which some setting trains, in the order of appearance.

    Raises:
        UnknownNameError: if no row has such a metric or axis.

    Validity:
        The best of many settings is biased towards the lucky: run it again with new seeds to learn its value.

    Example:
        >>> rows = [Row(str(lr), {"lr": lr, "seed": s}, curves={"loss": (lr + s,)}) for lr in (1, 2) for s in (0, 1)]
        >>> best(rows, "loss")[0].values
        {'lr': 1}
    """
    sign = _sign(metric, higher)
    settings: dict[Group, dict[str, tuple[dict[str, Any], list[float]]]] = {}
    for row in _known(rows, metric, by):
        values = {name: value for name, value in row.values.items() if name != seed}
        group = settings.setdefault(_group(row, by), {})
        group.setdefault(_text(values), (values, []))[1].append(_final(row, metric))
    found: list[Best] = []
    for group, candidates in settings.items():
        trained = [(values, figures) for values, figures in candidates.values() if all(map(math.isfinite, figures))]
        if trained:
            values, figures = min(trained, key=lambda entry: sign * sum(entry[1]) / len(entry[1]))
            found.append(Best(_named(group), values, paired_interval(figures)))
    return found


def largest_stable(
    rows: Iterable[Row], axis: str = "lr", *, by: Sequence[str] = (), seed: str = "seed"
) -> list[Stable]:
    """The largest value of an axis below which nothing diverges, of each group.

    For each seed: values from the smallest upwards, up to the last one before the first that diverges or fails.

    Args:
        rows: Of a sweep.
        axis: Of positive numbers.
        by: Axes whose values name a group.
        seed: The name of the repetitions.

    Returns:
        One for each group, in the order of appearance.

    Raises:
        UnknownNameError: if no row has such an axis.
        InputError: if its values are not positive numbers.

    Validity:
        Between the values of the grid nothing is known: the true limit lies between the value and the next.

    Example:
        >>> rows = [Row(str(lr), {"lr": lr}, diverged_at=3 if lr > 0.5 else None) for lr in (0.01, 0.1, 1.0)]
        >>> largest_stable(rows)[0].value
        0.1
    """
    lines = _lines(rows, axis, by, seed, lambda row: 0.0 if row.diverged_at is None and not row.error else math.inf)
    return [_stable(group, list(seeds.values())) for group, seeds in lines.items()]


def range_in_decades(
    rows: Iterable[Row],
    metric: str,
    axis: str = "lr",
    *,
    tolerance: float = 0.1,
    by: Sequence[str] = (),
    seed: str = "seed",
    higher: bool | None = None,
) -> list[Decades]:
    """The width of the range of an axis that is nearly as good as the best value, in decades, of each group.

    For each seed: from the best value outwards, as long as |metric - best| ≤ tolerance·|best| without a gap.

    Args:
        rows: Of a sweep.
        metric: Its last figure counts; a run that diverged or failed is outside.
        axis: Of positive numbers.
        tolerance: Relative to the best.
        by: Axes whose values name a group.
        seed: The name of the repetitions.
        higher: Whether more is better; by default it is for names that end in ``accuracy``.

    Returns:
        One for each group, in the order of appearance.

    Raises:
        UnknownNameError: if no row has such a metric or axis.
        InputError: if the axis has values that are not positive numbers, or the tolerance is negative.

    Validity:
        The width is that of the values on the grid: one value alone has width 0, although it stands for its
        surroundings. Ranges of equally spaced grids can be compared.

    Example:
        >>> losses = {0.01: 2.0, 0.1: 1.05, 1.0: 1.0, 10.0: 9.0}
        >>> rows = [Row(str(lr), {"lr": lr}, curves={"loss": (loss,)}) for lr, loss in losses.items()]
        >>> range_in_decades(rows, "loss")[0].interval.mean
        1.0
    """
    if tolerance < 0:
        raise InputError(f"range_in_decades: tolerance must be 0 or more, got {tolerance}. 0.1 is a tenth of the best.")
    sign = _sign(metric, higher)
    lines = _lines(_known(rows, metric, by), axis, by, seed, lambda row: sign * _final(row, metric))
    return [_decades(group, list(seeds.values()), tolerance) for group, seeds in lines.items()]


def _lines(
    rows: Iterable[Row], axis: str, by: Sequence[str], seed: str, figure: Callable[[Row], float]
) -> dict[Group, dict[str, Line]]:
    """Figures to be as low as possible, by group, seed and value of the axis, tuned over everything else."""
    lines: dict[Group, dict[str, Line]] = {}
    for row in _known(rows, None, (axis, *by)):
        at = row.values[axis]
        if isinstance(at, bool) or not isinstance(at, int | float) or not 0 < at < math.inf:
            raise InputError(f"sweep result: axis must have positive numbers, got {at!r} for {axis!r}. Name another.")
        line = lines.setdefault(_group(row, by), {}).setdefault(_text(row.values.get(seed)), {})
        line[at] = min(line.get(at, math.inf), figure(row))
    return lines


def _stable(group: Group, lines: Sequence[Line]) -> Stable:
    limits = [_limit(line) for line in lines]
    logs = [math.log10(limit) for limit in limits if limit is not None]
    beyond = sum(limit == max(line) for limit, line in zip(limits, lines, strict=True))
    never = len(limits) - len(logs)
    if not logs:
        return Stable(_named(group), None, None, beyond, never)
    found = paired_interval(logs)
    low, value, high = (_power(end) for end in (found.low, found.mean, found.high))
    same = {limit for limit in limits if limit is not None}
    value = same.pop() if len(same) == 1 else value  # without the logarithm's rounding
    low, high = (value, value) if found.low == found.high else (low, high)
    return Stable(_named(group), value, Interval(value, low, high, found.n, found.confidence), beyond, never)


def _limit(line: Line) -> float | None:
    limit = None
    for at in sorted(line):
        if not math.isfinite(line[at]):
            break
        limit = at
    return limit


def _power(exponent: float) -> float:
    return math.inf if exponent == math.inf else 10.0**exponent


def _decades(group: Group, lines: Sequence[Line], tolerance: float) -> Decades:
    spans = [_span(line, tolerance) for line in lines]
    widths = [math.log10(last / first) for first, last in filter(None, spans)]
    reached = sum(
        span is not None and (span[0] == min(line) or span[1] == max(line))
        for span, line in zip(spans, lines, strict=True)
    )
    return Decades(_named(group), paired_interval(widths) if widths else None, reached, len(lines) - len(widths))


def _span(line: Line, tolerance: float) -> tuple[float, float] | None:
    values = sorted(line)
    middle = min(range(len(values)), key=lambda index: line[values[index]])
    lowest = line[values[middle]]
    if not math.isfinite(lowest):
        return None
    good = [line[at] - lowest <= tolerance * abs(lowest) for at in values]
    first = last = middle
    while first > 0 and good[first - 1]:
        first -= 1
    while last + 1 < len(values) and good[last + 1]:
        last += 1
    return values[first], values[last]


def _final(row: Row, metric: str) -> float:
    curve = row.curves.get(metric, ())
    return curve[-1] if curve and row.error is None and row.diverged_at is None else math.nan


def _known(rows: Iterable[Row], metric: str | None, names: Sequence[str]) -> Iterable[Row]:
    """The rows, once it is clear that some of them have the metric and all of them the names."""
    metrics: set[str] = set()
    for row in rows:
        for name in names:
            if name not in row.values:
                raise UnknownNameError("sweep result", "axis", name, row.values)
        metrics.update(row.curves)
        yield row
    if metric is not None and metric not in metrics:
        raise UnknownNameError("sweep result", "metric", metric, sorted(metrics))


def _sign(metric: str, higher: bool | None) -> float:
    return -1.0 if (metric.endswith("accuracy") if higher is None else higher) else 1.0


def _group(row: Row, by: Sequence[str]) -> Group:
    return tuple((name, _hashable(row.values[name])) for name in by)


def _named(group: Group) -> dict[str, Any]:
    return dict(group)


def _hashable(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_hashable(entry) for entry in value)
    return _text(value) if isinstance(value, Mapping) else value


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
