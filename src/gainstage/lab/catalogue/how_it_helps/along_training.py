"""What claims about the loss along training share: the runs, ratios of two networks' figures, their picture.

A figure is compared as log10(figure of one network / figure of the other), at the same step of runs that started from
the same weights and saw the same batches; the mean over steps is one number a seed and learning rate. Each rate is
judged by itself: a mean over rates would hide that an effect turns round within them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gainstage.lab.claim import Design, Rows
from gainstage.lab.figures import Along, curves, side_by_side
from gainstage.lab.judge import Judgement, Row, Value, number

if TYPE_CHECKING:
    import altair as alt

# Torch draws its layers' weights with variance 1/(3 fan_in); times six that is He's, with which a network without
# a norm trains too, as the paper's does.
HE_SCALE = math.sqrt(6)
# A run that diverged has an infinite figure, a flat one zero. In decades; the paper reports effects of up to two.
_MOST = 3.0


@dataclass(frozen=True)
class AlongDesign(Design):
    """Runs of plain gradient descent.

    Attributes:
        network, data: As `gainstage.lab.apparatus.walk` knows them, or references ``package.module:function``.
        options: Keywords of the network but for its norm.
        scale: Of the weights that torch draws.
        lrs: Learning rates, of the control too; each is judged by itself.
        steps, every: Updates of a run, and between two looks at it.
        batch_size: The paper's is 128.
        device: ``auto`` is a GPU if there is one.
    """

    lrs: tuple[float, ...]
    steps: int
    every: int
    network: str = "mlp"
    data: str = "digits"
    options: tuple[tuple[str, Any], ...] = ()
    scale: float = HE_SCALE
    batch_size: int = 128
    device: str = "cpu"


def log_ratios(rows: Rows, key: str, by: str, over: Value, under: Value, **where: Value) -> list[float]:
    """One figure a seed: the mean of log10(over/under) of column ``key``, over learning rates, steps and layers.

    Args:
        rows: With ``seed``, ``lr``, ``step``, perhaps ``layer`` or ``net``, and ``diverged``.
        key: Of a figure that is non-negative.
        by: The column that tells the two networks apart, with the values ``over`` and ``under``.
        where: Further values of the rows that count.

    Returns:
        Each ratio within ±3 decades: a diverged run's figure is infinite. NaN where a figure or its partner is missing.
    """
    found: dict[int, list[float]] = {}
    for place, pair in _pairs(rows, key, by, (over, under), where).items():
        found.setdefault(int(number(place[0])), []).append(_decades(*pair))
    return [sum(values) / len(values) for _, values in sorted(found.items())]


def ratio_points(rows: Rows, key: str, by: str, over: Value, under: Value) -> list[dict[str, Any]]:
    """The ratios themselves, for a picture: a point a seed, step and learning rate."""
    found: dict[tuple[Value, ...], list[float]] = {}
    for (seed, lr, step, _), pair in _pairs(rows, key, by, (over, under), {}).items():
        found.setdefault((seed, lr, step), []).append(_decades(*pair))
    return [
        {"seed": seed, "lr": f"{lr:g}", "step": step, "ratio": 10 ** (sum(values) / len(values))}
        for (seed, lr, step), values in found.items()
    ]


def at_every_rate(lrs: Sequence[float], judged: Callable[[float], Judgement]) -> Judgement:
    """Whether a statement holds at every learning rate.

    Args:
        lrs: The rates.
        judged: What is found at one of them.

    Returns:
        Supported or refuted only if it is so at all rates. The effect is the mean over rates, and the interval reaches
        from the lowest end of their intervals to the highest: it lies wholly on one side if all of them do.
    """
    return in_every_case({f"rate {lr:g}": judged(lr) for lr in lrs}, "learning rates")


def in_every_case(found: Mapping[str, Judgement], cases: str) -> Judgement:
    """`at_every_rate`, for judgements of any cases.

    Args:
        found: What the case is, to what was found in it.
        cases: What they are, for the reason.
    """
    outcomes = {one.outcome for one in found.values()}
    first = next(iter(found.values()))
    told = " ".join(f"{case[:1].upper()}{case[1:]} ({one.outcome}): {one.why}" for case, one in found.items())
    ends = [one.interval for one in found.values() if one.interval is not None]
    effects = [one.effect for one in found.values() if one.effect is not None]
    whole = len(ends) == len(effects) == len(found)
    return replace(
        first,
        outcome=first.outcome if len(outcomes) == 1 else "inconclusive",
        effect=sum(effects) / len(effects) if whole else None,
        interval=(min(low for low, _ in ends), max(high for _, high in ends)) if whole else None,
        n=min(one.n for one in found.values()),
        why=f"{_summary(f'{len(found)} {cases}', outcomes)} {told}",
    )


def _summary(cases: str, outcomes: Collection[str]) -> str:
    if len(outcomes) > 1:
        return f"The {cases}, each judged by itself, do not agree, so the whole is inconclusive."
    return f"Each of the {cases} was judged by itself; all are {next(iter(outcomes))}."


def draw_ratios(
    rows: Rows, key: str, *, title: str, of: str, control: str, compared: Mapping[str, tuple[str, Value, Value]]
) -> alt.HConcatChart:
    """Ratios along training, of the claim and of its control.

    Args:
        rows: Of both.
        key: The column.
        title: What was measured, as a sentence.
        of: What the ratio is of.
        control: What the control is.
        compared: By ``part``: the telling column, the value over and the one under.
    """
    panels = [
        curves(
            ratio_points([row for row in rows if row["part"] == part], key, *compared[part]),
            Along("step", "updates"),
            Along("ratio", of, log=True),
            Along("lr", "learning rate"),
            title=said,
            subtitle="Bold: median over seeds; faint: a seed. 1 = no difference",
        )
        for part, said in (("claim", title), ("control", control))
    ]
    return side_by_side(*(panel.properties(width=380, height=280) for panel in panels))


_Place = tuple[Value, Value, Value, Value]


def _pairs(
    rows: Rows, key: str, by: str, values: tuple[Value, Value], where: Mapping[str, Value]
) -> dict[_Place, tuple[float, float]]:
    kept = [row for row in rows if all(row.get(name) == value for name, value in where.items())]
    sides = [{_place(row): _figure(row, key) for row in kept if row.get(by) == value} for value in values]
    places = sorted(sides[0].keys() | sides[1].keys(), key=_order)
    return {place: (sides[0].get(place, math.nan), sides[1].get(place, math.nan)) for place in places}


def _place(row: Row) -> _Place:
    return row["seed"], row["lr"], row["step"], row.get("layer", row.get("net"))


def _order(place: _Place) -> tuple[float, ...]:
    return tuple(float(part or 0) for part in place)


def _figure(row: Row, key: str) -> float:
    value = row.get(key)
    if value is None:
        return math.inf if row["diverged"] else math.nan
    return float(value)


def _decades(over: float, under: float) -> float:
    """log10(over/under) within ±3; equal ones, also both infinite or both zero, make 0."""
    if math.isnan(over) or math.isnan(under):
        return math.nan
    if over == under:
        return 0.0
    if under == 0 or math.isinf(over):
        return _MOST
    return max(-_MOST, min(_MOST, math.log10(over / under))) if over > 0 and math.isfinite(under) else -_MOST
