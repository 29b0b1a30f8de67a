"""The paired trial: its curves, and the same in words and figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gainstage.diagnosis.records import Trial
from gainstage.report.charts import chart_svg
from gainstage.report.wording import counted, figure

_ROWS_AT_MOST = 4500  # altair refuses to embed more than 5000
_POINTS_A_LINE = 200
_WIDE, _NARROW = 720, 290
_COLOURS = {"without": "var(--before, #b4541a)", "with the fixes": "var(--after, #1f7a68)"}

Curve = Sequence[float]


@dataclass(frozen=True)
class TrialView:
    """What the template shows.

    Attributes:
        wide, narrow: The curves for a desk and for a phone, or "" if not one loss is finite.
        steps: The steps at which the table has figures.
        table: Label and mean loss at those steps.
    """

    sentence: str
    wide: str
    narrow: str
    steps: tuple[str, ...]
    table: tuple[tuple[str, tuple[str, ...]], ...]
    trial: Trial


def trial_view(trial: Trial) -> TrialView:
    """The trial for the template."""
    longest = max((len(curve) for curve in (*trial.before, *trial.after)), default=0)
    at = sorted({round(share * (longest - 1)) for share in (0, 0.1, 0.25, 0.5, 0.75, 1)}) if longest else []
    table = tuple(
        (label, tuple(_mean_in_words(curves, step) for step in at))
        for label, curves in zip(_COLOURS, (trial.before, trial.after), strict=True)
    )
    rows = _points(trial, longest)
    # Shrunk to a phone's width, the wide chart's labels could not be read.
    wide, narrow = (chart_svg(_chart(rows, w), prefix=f"trial{w}") if rows else "" for w in (_WIDE, _NARROW))
    return TrialView(effect_in_words(trial), wide, narrow, tuple(f"{step:,}" for step in at), table, trial)


def effect_in_words(trial: Trial) -> str:
    """One or two sentences: the difference, its interval and what it means."""
    seeds = counted(len(trial.before), "seed")
    runs = f"over {seeds}" + (f" and {counted(trial.steps, 'step')}" if trial.steps else "")
    low, high = trial.interval
    if not math.isfinite(trial.effect):
        judged = "Improved" if trial.improved else "Not shown to improve"
        return f"{judged}: {runs}, the losses differ by more than a finite number (a run left the finite numbers)."
    direction = "lower" if trial.effect >= 0 else "higher"
    interval = f"95 % interval of the reduction {figure(low)} to {figure(high)}"
    judged = "Improved" if trial.improved else "Not shown to improve: the interval does not lie wholly above zero"
    return f"With the fixes the final loss is {figure(abs(trial.effect))} {direction} {runs} ({interval}). {judged}."


def _chart(rows: list[dict[str, Any]], width: int) -> Any:
    """One thin line a seed and the mean, without and with the fixes."""
    import altair as alt  # slow to import, and only pages with a trial need it

    colour = alt.Color(
        "run:N", title=None, legend=alt.Legend(orient="top", symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1)
    )
    colour = colour.scale(domain=list(_COLOURS), range=list(_COLOURS.values()))
    losses = [row["loss"] for row in rows]
    # A loss that falls a hundredfold shows its end only on a logarithmic scale.
    wide = min(losses) > 0 and max(losses) / min(losses) > 50
    loss = alt.Y("loss:Q", title="loss").scale(type="log" if wide else "linear", nice=True, zero=False)
    loss = loss.axis(tickCount=5)
    step = alt.X("step:Q", title="step").scale(nice=False).axis(tickCount=width // 100, grid=False)
    base = alt.Chart(alt.Data(values=rows)).encode(x=step, y=loss, color=colour, detail="seed:N")
    seeds = base.transform_filter("datum.seed != 'mean'").mark_line(strokeWidth=1, opacity=0.35)
    mean = base.transform_filter("datum.seed == 'mean'").mark_line(strokeWidth=2.25)
    return alt.layer(seeds, mean).properties(width=width, height=230)


def _points(trial: Trial, longest: int) -> list[dict[str, Any]]:
    lines = len(trial.before) + len(trial.after) + 2
    stride = max(1, math.ceil(longest / min(_POINTS_A_LINE, max(2, _ROWS_AT_MOST // lines))))
    steps = [*range(0, longest, stride)]
    if longest and steps[-1] != longest - 1:
        steps.append(longest - 1)
    rows: list[dict[str, Any]] = []
    for run, curves in zip(_COLOURS, (trial.before, trial.after), strict=True):
        for seed, curve in enumerate(curves):
            shown = ((s, curve[s]) for s in steps if s < len(curve))
            rows += [{"run": run, "seed": str(seed), "step": s, "loss": v} for s, v in shown if math.isfinite(v)]
        means = ((s, _mean(curves, s)) for s in steps)
        rows += [{"run": run, "seed": "mean", "step": s, "loss": v} for s, v in means if v is not None]
    return rows


def _mean(curves: Sequence[Curve], step: int) -> float | None:
    """Mean over seeds, None where a run has already left the finite numbers: the rest would flatter it."""
    values = [curve[step] for curve in curves if step < len(curve)]
    if not curves or len(values) < len(curves) or not all(map(math.isfinite, values)):
        return None
    return sum(values) / len(values)


def _mean_in_words(curves: Sequence[Curve], step: int) -> str:
    mean = _mean(curves, step)
    return "not finite" if mean is None else figure(mean)
