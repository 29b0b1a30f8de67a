"""A suggested learning rate as a chart: what the loss did over the rates that were tried."""

from __future__ import annotations

import importlib
import math
import os
from pathlib import Path
from typing import Any

from gainstage.landscape.learning_rate.records import LearningRate
from gainstage.report.lr_text import ceiling
from gainstage.report.picture_files import write_picture

_RAMP, _HELD, _LOST, _RECOMMENDED, _SAFE = "#6b7f8c", "#1f8f70", "#c2603a", "#2f9e7e", "#c48a2a"


def lr_chart(found: LearningRate, *, width: int = 520, height: int = 260) -> Any:
    """The altair chart: the ramp as a line, short runs as points, the two rates as vertical rules.

    Args:
        found: The suggestion.
        width, height: Of the chart, in pixels.
    """
    alt: Any = importlib.import_module("altair")  # slow, and only pictures need it

    top = ceiling(found)
    ramp = [{"lr": rate, "loss": _capped(loss, top)} for rate, loss in zip(*found.ramp, strict=True)]
    runs = [{"lr": run.lr, "loss": _capped(run.last, top), "outcome": _outcome(run.held)} for run in found.runs]
    rules = [
        {"lr": found.recommended, "mark": f"recommended {found.recommended:.2g}"},
        {"lr": found.safe_max, "mark": f"safe maximum {found.safe_max:.2g}"},
    ]
    tried = [*found.ramp[0], *(run.lr for run in found.runs), found.recommended, found.safe_max]
    within = [min(tried) / 1.3, max(tried) * 1.3]
    x = alt.X("lr:Q", title="learning rate").scale(type="log", nice=False, domain=within)
    x = x.axis(format="~e", tickCount=6, grid=False)
    below = alt.Legend(orient="bottom", symbolSize=60, columnPadding=18, labelLimit=240)
    y = alt.Y("loss:Q", title="loss").scale(zero=False)
    line = alt.Chart(alt.Data(values=ramp)).mark_line(color=_RAMP, strokeWidth=1.8).encode(x=x, y=y)
    outcomes = alt.Scale(domain=[_outcome(True), _outcome(False)], range=[_HELD, _LOST])
    shapes = alt.Scale(domain=[_outcome(True), _outcome(False)], range=["circle", "square"])
    points = alt.Chart(alt.Data(values=runs)).mark_point(size=80, filled=True, opacity=1).encode(
        x=x, y=y, color=alt.Color("outcome:N", title=None, legend=below).scale(outcomes),
        shape=alt.Shape("outcome:N", legend=None).scale(shapes),
    )  # fmt: skip
    marks = alt.Scale(domain=[rule["mark"] for rule in rules], range=[_RECOMMENDED, _SAFE])
    rule = alt.Chart(alt.Data(values=rules)).mark_rule(strokeWidth=2, strokeDash=[5, 3])
    rule = rule.encode(x=x, color=alt.Color("mark:N", title=None, legend=below).scale(marks))
    layered = alt.layer(rule, line, points).resolve_scale(color="independent")
    return layered.properties(width=width, height=height)


def write_lr(found: LearningRate, path: str | os.PathLike[str]) -> Path:
    """Writes the chart as SVG or PNG, by the file's ending, and returns the path.

    Args:
        found: The suggestion.
        path: Ends in .svg or .png; the folder must exist.

    Raises:
        InputError: if the ending is another, or the file cannot be written.
    """
    alt: Any = importlib.import_module("altair")

    title = f"Learning rates of {found.name or 'the model'}: {found.optimizer}"
    return write_picture(lr_chart(found).properties(title=alt.Title(title, subtitle=LEGEND)), path)


LEGEND = "line: the rate doubles at every step; points: ends of short runs at a constant rate"


def _outcome(held: bool) -> str:
    return "short run held" if held else "short run lost its way"


def _capped(loss: float, top: float) -> float:
    return min(loss, top) if math.isfinite(loss) else top
