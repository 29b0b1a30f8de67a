"""Judges: pure functions from figures to an outcome, with the reason in words.

A figure is one number a seed. The rule for an effect: *supported* if the whole 95 % interval lies on the
predicted side, *refuted* if the whole of it lies on the other, else *inconclusive*. What cannot be judged
(too few seeds, figures that are not finite) is inconclusive too. An exact statement is judged by its largest
error. How often these judges err is simulated by ``benchmarks/judge.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

from gainstage.numerics.intervals import Interval, paired_interval, student_t_quantile

Outcome = Literal["supported", "refuted", "inconclusive"]
Value = float | int | str | bool | None
Row = dict[str, Value]


@dataclass(frozen=True)
class Judgement:
    """What a judge found.

    Attributes:
        effect: The judged figure: a mean over seeds, or the largest error of an exact statement.
        interval: Its 95 % interval; of an exact statement (effect, effect).
        n: How many figures it rests on: seeds, or problems for an exact statement.
        why: The reason, one or more sentences.
    """

    outcome: Outcome
    effect: float | None
    interval: tuple[float, float] | None
    n: int
    why: str


def per_seed(rows: Sequence[Row], key: str, **where: Value) -> dict[int, float]:
    """The mean of column ``key`` by seed, over the rows that match ``where``; None counts as NaN."""
    return {seed: sum(values) / len(values) for seed, values in _columns(rows, key, where).items()}


def worst_per_seed(rows: Sequence[Row], key: str, **where: Value) -> dict[int, float]:
    """As `per_seed`, but the largest figure of a seed; NaN if one of them is."""
    found = _columns(rows, key, where).items()
    return {seed: math.nan if any(map(math.isnan, values)) else max(values) for seed, values in found}


def paired_differences(rows: Sequence[Row], key: str, by: str, first: Value, second: Value) -> list[float]:
    """Per seed, column ``key`` where ``by`` is ``first`` minus where ``second``; NaN without a partner."""
    minuends, subtrahends = per_seed(rows, key, **{by: first}), per_seed(rows, key, **{by: second})
    seeds = sorted(minuends.keys() | subtrahends.keys())
    return [minuends.get(seed, math.nan) - subtrahends.get(seed, math.nan) for seed in seeds]


def one_sided(
    values: Sequence[float],
    *,
    name: str,
    seeds: int,
    side: Literal["above", "below"],
    limit: float = 0.0,
    resolution: float = 0.0,
) -> Judgement:
    """Whether the mean over seeds lies on the predicted side of a limit.

    Args:
        values: One figure (mostly a paired difference) a seed.
        name: What the figure is, for the reason.
        seeds: How many the design asks for.
        side: Which side of ``limit`` was predicted.
        limit: Zero, or the smallest effect that counts.
        resolution: As `interval_of` has it.

    Returns:
        The judgement; its ``interval`` is Student's, at 95 %.

    Example:
        >>> one_sided([0.9, 1.1, 1.0, 1.2, 0.8], name="gap", seeds=5, side="above").outcome
        'supported'
    """
    unusable = _unusable(values, name, seeds)
    if unusable:
        return unusable
    found = interval_of(values, resolution)
    above, below = found.low > limit, found.high < limit
    outcome = _outcome(*((above, below) if side == "above" else (below, above)))
    where = f"wholly {'above' if above else 'below'}" if above or below else "on both sides of"
    why = f"{described(values, name, resolution)}, lies {where} {limit:.4g}; {side} was predicted."
    return Judgement(outcome, found.mean, (found.low, found.high), found.n, why)


def equality(
    values: Sequence[float], *, name: str, seeds: int, target: float, tolerance: float, resolution: float = 0.0
) -> Judgement:
    """Whether the mean over seeds equals a target: its interval lies within the tolerance, or wholly outside.

    Args:
        values: One figure a seed.
        name: What the figure is, for the reason.
        seeds: How many the design asks for.
        target: The predicted value.
        tolerance: Half the width of the band that counts as equal, in the figure's unit.
        resolution: As `interval_of` has it.

    Returns:
        The judgement; an interval that crosses the edge of the band is inconclusive.

    Example:
        >>> equality([0.4, 0.5, 0.6, 0.5, 0.5], name="q", seeds=5, target=0.5, tolerance=0.2).outcome
        'supported'
    """
    unusable = _unusable(values, name, seeds)
    if unusable:
        return unusable
    found = interval_of(values, resolution)
    inside = found.low >= target - tolerance and found.high <= target + tolerance
    outside = found.low > target + tolerance or found.high < target - tolerance
    where = "wholly within" if inside else ("wholly outside" if outside else "across the edge of")
    why = f"{described(values, name, resolution)}, lies {where} {target:.4g} ± {tolerance:.2g}."
    return Judgement(_outcome(inside, outside), found.mean, (found.low, found.high), found.n, why)


def differs(values: Sequence[float], *, name: str, seeds: int, tolerance: float, resolution: float = 0.0) -> Judgement:
    """Whether there is a difference, where no direction was claimed: its interval lies beyond ± the tolerance.

    Args:
        values: One paired difference a seed.
        name: What the figure is, for the reason.
        seeds: How many the design asks for.
        tolerance: The smallest difference that counts.
        resolution: As `interval_of` has it.

    Returns:
        Supported if the interval lies wholly beyond it on one side, refuted if wholly within, else inconclusive.

    Example:
        >>> differs([0.01, -0.01, 0.02, 0.0, 0.0], name="gap", seeds=5, tolerance=0.1).outcome
        'refuted'
    """
    same = equality(values, name=name, seeds=seeds, target=0.0, tolerance=tolerance, resolution=resolution)
    turned: dict[Outcome, Outcome] = {"supported": "refuted", "refuted": "supported", "inconclusive": "inconclusive"}
    return replace(same, outcome=turned[same.outcome])


def identity(errors: Sequence[float], *, name: str, tolerance: float) -> Judgement:
    """Whether an exact identity holds: the largest error decides, and no seeds are averaged.

    Args:
        errors: Absolute or relative errors, non-negative, one or more.
        name: What the error is of, for the reason.
        tolerance: What rounding may cost.

    Returns:
        Supported or refuted, with ``interval`` = (error, error).
    """
    unusable = _unusable(errors, name, 1)
    if unusable:
        return unusable
    worst = max(errors)
    held = worst <= tolerance
    why = f"The largest {name} is {worst:.2g}, {'within' if held else 'beyond'} the tolerance {tolerance:.2g}."
    return Judgement(_outcome(held, not held), worst, (worst, worst), len(errors), why)


def bound(excesses: Sequence[float], *, name: str, tolerance: float) -> Judgement:
    """Whether an inequality, left ≤ right, holds on every problem: one violation refutes it.

    Args:
        excesses: left - right, one a problem.
        name: The inequality, for the reason.
        tolerance: What rounding may cost.

    Returns:
        Refuted if any excess is beyond the tolerance, else supported *on these problems*.
    """
    unusable = _unusable(excesses, name, 1)
    if unusable:
        return unusable
    worst = max(excesses)
    broken = sum(excess > tolerance for excess in excesses)
    found = f"fails on {broken} of {len(excesses)}" if broken else f"holds on all {len(excesses)}"
    why = f"{name} {found} problems; largest left - right = {worst:.4g}."
    return Judgement(_outcome(not broken, bool(broken)), worst, (worst, worst), len(excesses), why)


def interval_of(values: Sequence[float], resolution: float = 0.0) -> Interval:
    """Student's 95 % interval of the mean, widened by what a grid hides: mean ± t·√((s² + h²/12)/n).

    Args:
        values: Finite figures, one a seed.
        resolution: The step h of the grid that a figure is read from (0.5 for the largest of learning rates in half
            decades). Without it, seeds that fall on the same point of the grid would seem to be known exactly: h²/12 is
            the variance of what is uniform within one step.

    Example:
        >>> found = interval_of([1.0, 1.0, 1.0, 1.0], resolution=0.5)
        >>> round(found.low, 3), round(found.high, 3)
        (0.77, 1.23)
    """
    found = paired_interval(values)
    if not resolution or found.n < 2:
        return found
    hidden = student_t_quantile(0.975, found.n - 1) * resolution / math.sqrt(12 * found.n)
    half = math.hypot((found.high - found.low) / 2, hidden)
    return replace(found, low=found.mean - half, high=found.mean + half)


def described(values: Sequence[float], name: str, resolution: float = 0.0) -> str:
    """A figure that is not judged, in words: its mean and 95 % interval over seeds, or that there is none."""
    if not values or not all(math.isfinite(value) for value in values):
        return f"{name} could not be measured"
    found = interval_of(values, resolution)
    return f"{name} = {found.mean:.4g}, 95 % interval [{found.low:.4g}, {found.high:.4g}] over {found.n} seeds"


def combine(first: Judgement, *others: Judgement) -> Judgement:
    """All must hold: refuted if one is, else inconclusive if one is; the effect is the first one's."""
    parts = (first, *others)
    outcomes = {part.outcome for part in parts}
    worst = next(o for o in ("refuted", "inconclusive", "supported") if o in outcomes)
    return replace(first, outcome=worst, why=" ".join(part.why for part in parts))


def with_control(judgement: Judgement, control: Judgement, statement: str) -> Judgement:
    """The judgement, turned inconclusive unless its control holds: something else may have been measured."""
    if control.outcome == "supported":
        return judgement
    how = "failed" if control.outcome == "refuted" else "is undecided"
    why = f"The control {how} ({statement} {control.why}), so nothing follows from: {judgement.why}"
    return replace(judgement, outcome="inconclusive", why=why)


def _unusable(values: Sequence[float], name: str, seeds: int) -> Judgement | None:
    broken = sum(not math.isfinite(value) for value in values)
    if broken:
        why = f"{broken} of {len(values)} figures of {name} are not finite."
    elif len(values) < seeds:
        why = f"Too few figures of {name}: the design asks for {seeds}, there are {len(values)}."
    else:
        return None
    return Judgement("inconclusive", None, None, len(values), why)


def _outcome(supported: bool, refuted: bool) -> Outcome:
    return "supported" if supported else ("refuted" if refuted else "inconclusive")


def _columns(rows: Sequence[Row], key: str, where: Mapping[str, Value]) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for row in rows:
        if key in row and all(row.get(name) == value for name, value in where.items()):
            found.setdefault(cast(int, row["seed"]), []).append(number(row[key]))
    return dict(sorted(found.items()))


def number(value: object) -> float:
    """The value of a row as a number; NaN where it is none."""
    return float(value) if isinstance(value, (int, float)) else math.nan
