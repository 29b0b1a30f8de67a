"""Charts of mean-field theory, as files: phase diagram, depth scales, maps of variance and correlation."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from gainstage.errors import InputError
from gainstage.report.picture_files import picture_path, write_picture
from gainstage.theory import (
    Activation,
    PhaseDiagram,
    activation,
    c_map_curves,
    depth_scales,
    he_gain,
    phase_diagram,
    preserving_weight_var,
    q_map_curves,
)

_WIDTH, _HEIGHT = 460, 340
_INK, _EDGE, _ORDERED, _CHAOTIC = "#1f2933", "#111111", "#2b6cb0", "#c05621"
_WEIGHT_AXIS = "weight variance σ_w² = fan_in · Var W"
_CURVES = ("#2b6cb0", "#111111", "#c05621", "#8b1e3f")


def plotted(topic: str) -> bool:
    """Whether a topic of theory has a chart."""
    return topic in _CHARTS


def theory_chart(topic: str, act: Activation) -> Any:
    """The altair chart of a topic for an activation.

    Args:
        topic: "edge-of-chaos", "depth-scale", "q-map" or "c-map".
        act: The activation φ.

    Raises:
        InputError: if the topic has no chart.
    """
    if not plotted(topic):
        raise InputError(
            f"theory_chart: topic must be one with a chart, got {topic!r}. Those are {', '.join(_CHARTS)}."
        )
    return _CHARTS[topic](act)


def write_chart(topic: str, name: str, path: str | os.PathLike[str]) -> Path:
    """Writes the chart of a topic as SVG or PNG, by the file's ending, and returns the path.

    Args:
        topic: As for `theory_chart`.
        name: Of the activation.
        path: Ends in .svg or .png; the folder must exist.

    Raises:
        InputError: if the topic has no chart, the ending is another, or the file cannot be written.
        UnknownNameError: if the activation is not known.
    """
    place = picture_path(path)
    return write_picture(theory_chart(topic, activation(name)), place)


def _phase_chart(act: Activation) -> Any:
    """Colour is the growth of gradients; the line is where there is none."""
    import altair as alt

    diagram = phase_diagram(act, np.linspace(0.05, 4.0, 80), np.linspace(0.0, 0.5, 51))
    limit = 1.0
    colour = alt.Color("growth:Q", title="χ₁ (gradient² a layer)").scale(
        type="log", domain=[2**-limit, 1, 2**limit], range=[_ORDERED, "#f7f7f7", _CHAOTIC], clamp=True
    )
    colour = colour.legend(values=[0.5, 0.7, 1, 1.4, 2], format=".1f", gradientLength=180)
    x = alt.X("left:Q", title=_WEIGHT_AXIS).scale(domain=[0, 4], nice=False).axis(grid=False)
    y = alt.Y("low:Q", title="bias variance σ_b² = Var b").scale(domain=[0, 0.5], nice=False).axis(grid=False)
    # Rectangles without a stroke leave hairlines between them.
    cells = alt.Chart(alt.Data(values=_cells(diagram))).mark_rect(strokeWidth=0.6)
    cells = cells.encode(x=x, x2="right:Q", y=y, y2="high:Q", color=colour, stroke=_like(colour))
    edge = alt.Chart(alt.Data(values=_rows(("left", "low"), diagram.edge.tolist())))
    line = edge.mark_line(color=_EDGE, strokeWidth=2.5).encode(x="left:Q", y="low:Q", order="low:Q")
    layers = [cells, line, *_phase_names(diagram)]
    return alt.layer(*layers).properties(width=_WIDTH, height=_HEIGHT, title=f"Phases of {act}, with the edge of chaos")


def _like(colour: Any) -> Any:
    import altair as alt

    return alt.Stroke("growth:Q", legend=None, scale=colour.to_dict()["scale"])


def _phase_names(diagram: PhaseDiagram) -> list[Any]:
    import altair as alt

    places: list[tuple[float, float, str]] = []
    for name, inside in (("ordered: χ₁ < 1", diagram.chi1 < 0.98), ("chaotic: χ₁ > 1", diagram.chi1 > 1.02)):
        rows, columns = np.nonzero(inside)
        if rows.size > 0.03 * inside.size:
            places.append((float(diagram.weight_var[columns].mean()), float(diagram.bias_var[rows].mean()), name))
    data = alt.Chart(alt.Data(values=_rows(("left", "low", "name"), places)))
    return [data.mark_text(fontSize=14, fontWeight=600, color=_INK).encode(x="left:Q", y="low:Q", text="name:N")]


def _cells(diagram: PhaseDiagram) -> list[dict[str, Any]]:
    """A rectangle around each point of the grid."""
    sides = [_borders(diagram.weight_var), _borders(diagram.bias_var)]
    return [
        {
            "left": sides[0][column], "right": sides[0][column + 1],
            "low": sides[1][row], "high": sides[1][row + 1], "growth": float(diagram.chi1[row, column]),
        }
        for row in range(diagram.bias_var.size)
        for column in range(diagram.weight_var.size)
    ]  # fmt: skip


def _borders(points: Any) -> list[float]:
    middles = (points[1:] + points[:-1]) / 2
    return [max(0.0, float(points[0])), *middles.tolist(), float(points[-1])]


def _depth_chart(act: Activation) -> Any:
    import altair as alt

    bias_var = 0.05
    coarse = depth_scales(act, np.linspace(0.5, 4.0, 36), bias_var)
    beside = coarse.edge * (1 + np.array([-0.04, -0.02, -0.01, 0.01, 0.02, 0.04]))
    fine = depth_scales(act, beside, bias_var) if math.isfinite(coarse.edge) else coarse
    rows = [
        {"weight": weight, "layers": depth, "scale": name}
        for scales in (coarse, fine)
        for name, depths in (("ξ_c: correlation", scales.correlation), ("ξ_q: variance", scales.variance))
        for weight, depth in zip(scales.weight_var.tolist(), depths.tolist(), strict=True)
        if math.isfinite(depth) and depth > 0
    ]
    x = alt.X("weight:Q", title=_WEIGHT_AXIS).scale(domain=[0.5, 4], nice=False)
    x = x.axis(values=[0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4])
    y = alt.Y("layers:Q", title="depth scale in layers").scale(type="log", domain=[0.3, 500])
    y = y.axis(values=[0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500], format="~g")
    colour = alt.Color("scale:N", title=None, legend=alt.Legend(orient="top")).scale(range=[_CHAOTIC, _ORDERED])
    # Dashed: for ReLU both scales are the same.
    dash = alt.StrokeDash("scale:N", title=None).scale(range=[[1, 0], [6, 4]])
    lines = alt.Chart(alt.Data(values=rows)).mark_line(strokeWidth=2.25, clip=True)
    layers = [lines.encode(x=x, y=y, color=colour, strokeDash=dash)]
    if math.isfinite(coarse.edge):
        layers += _marked(coarse.edge, f"edge of chaos, σ_w² = {coarse.edge:.3f}", rule=True)
    gone = coarse.weight_var[np.isnan(coarse.correlation)]
    if gone.size and gone[-1] == coarse.weight_var[-1]:
        layers += _marked(float(gone[0]), "no fixed point: q → ∞", rule=False)
    title = f"Depth scales of {act} at σ_b² = {bias_var:g}"
    return alt.layer(*layers).properties(width=_WIDTH, height=_HEIGHT, title=title)


def _marked(weight_var: float, text: str, *, rule: bool) -> list[Any]:
    """A label at a σ_w², and a line."""
    import altair as alt

    place = alt.Chart(alt.Data(values=[{"weight": weight_var, "name": text}]))
    label = place.mark_text(align="left", dx=6, fontSize=12, color=_EDGE)
    label = label.encode(x="weight:Q", y=alt.value(14), text="name:N")
    line = place.mark_rule(color=_EDGE, strokeDash=[2, 3], strokeWidth=1.5).encode(x="weight:Q")
    return [line, label] if rule else [label]


def _q_chart(act: Activation) -> Any:
    q = np.linspace(0, 3, 61)
    weights, bias_var = _weights(act), 0.05
    curves = q_map_curves(act, q, weights, bias_var)
    return _map_chart(q, curves, weights, ("variance q", "variance q′ of the next layer"), 3.0,
                      f"q-maps of {act} at σ_b² = {bias_var:g}")  # fmt: skip


def _c_chart(act: Activation) -> Any:
    # ReLU has a fixed point without biases only.
    weights, bias_var = (np.array([2.0]), 0.0) if act.slopes is not None else (_weights(act), 0.05)
    weights = np.array([preserving_weight_var(act)]) if act.slopes is not None else weights
    c = np.linspace(0, 1, 26)
    curves = c_map_curves(act, c, weights, bias_var)
    return _map_chart(c, curves, weights, ("correlation c", "correlation c′ of the next layer"), 1.0,
                      f"c-maps of {act} at q*, σ_b² = {bias_var:g}")  # fmt: skip


def _weights(act: Activation) -> Any:
    """Below, at and above what carries a signal; and where the variance of 1 stays."""
    middle = preserving_weight_var(act)
    return np.unique(np.round([0.5 * middle, middle, 1.5 * middle, he_gain(act) ** 2], 3))


def _map_chart(points: Any, curves: Any, weights: Any, titles: tuple[str, str], end: float, title: str) -> Any:
    import altair as alt

    alive = np.isfinite(curves).all(axis=1)
    names = [f"{weight:.3g}" for weight in weights[alive].tolist()]
    rows = [
        {"before": before, "after": after, "weight": name}
        for name, curve in zip(names, curves[alive].tolist(), strict=True)
        for before, after in zip(points.tolist(), curve, strict=True)
    ]
    x = alt.X("before:Q", title=titles[0]).scale(domain=[0, end], nice=False)
    y = alt.Y("after:Q", title=titles[1]).scale(domain=[0, end], nice=False)
    colour = alt.Color("weight:N", title="σ_w²", sort=names).scale(domain=names, range=list(_CURVES[: len(names)]))
    lines = alt.Chart(alt.Data(values=rows)).mark_line(strokeWidth=2.25, clip=True).encode(x=x, y=y, color=colour)
    diagonal = alt.Chart(alt.Data(values=_rows(("before", "after"), [(0.0, 0.0), (end, end)])))
    same = diagonal.mark_line(color="#7b8794", strokeDash=[4, 4]).encode(x="before:Q", y="after:Q")
    return alt.layer(same, lines).properties(width=_HEIGHT, height=_HEIGHT, title=title)


def _rows(names: tuple[str, ...], entries: Iterable[Iterable[object]]) -> list[dict[str, object]]:
    return [dict(zip(names, entry, strict=True)) for entry in entries]


_CHARTS: dict[str, Callable[[Activation], Any]] = {
    "edge-of-chaos": _phase_chart,
    "depth-scale": _depth_chart,
    "q-map": _q_chart,
    "c-map": _c_chart,
}
