"""Charts that claims have in common, from points as plain dicts; altair is imported when one is drawn.

Outcomes are told apart by position and words too, never by colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gainstage.lab.judge import Row, Value

if TYPE_CHECKING:
    import altair as alt

WIDTH, HEIGHT = 520, 320
Points = Sequence[Mapping[str, Value]]


@dataclass(frozen=True)
class Along:
    """An axis of a chart.

    Attributes:
        name: Of the points' key.
        title: With its unit.
        log: Whether it is logarithmic; values that are not positive are left out.
    """

    name: str
    title: str
    log: bool = False


def curves(points: Points, x: Along, y: Along, colour: Along, *, title: str, subtitle: str = "") -> alt.LayerChart:
    """Medians over seeds as lines, the seeds themselves as faint ones.

    Args:
        points: One dict a figure with ``seed``, and the axes' and the colour's names.
        x, y: The axes.
        colour: What tells the lines apart.
        title: What the picture shows, as a sentence.
        subtitle: What a line and a point are.
    """
    import altair as alt

    base = alt.Chart(alt.InlineData(_drawable(points, x, y)))
    across, up = _axis(alt.X, x), _axis(alt.Y, y)
    told = alt.Color(f"{colour.name}:N", title=colour.title).legend(orient="bottom", symbolOpacity=1)
    # The same channels in both layers: else the legend is drawn twice, once without colours.
    dashed = alt.StrokeDash(f"{colour.name}:N", title=colour.title).legend(orient="bottom", symbolOpacity=1)
    faint = base.mark_line(opacity=0.25, strokeWidth=1).encode(across, up, told, dashed, alt.Detail("seed:N"))
    mean = base.mark_line(point=True, strokeWidth=2).encode(across, _mean_of(alt, y), told, dashed)
    return alt.layer(faint, mean).properties(title=_title(alt, title, subtitle), width=WIDTH, height=HEIGHT)


def strips(points: Points, category: Along, value: Along, *, title: str, subtitle: str = "") -> alt.LayerChart:
    """One dot a seed for each category, a bar at their median.

    Args:
        points: One dict a figure with ``seed``, the category's and the value's names.
        category: Text; shown in the order of the points.
        value: The axis of the figures.
        title: What the picture shows, as a sentence.
        subtitle: What a dot is.
    """
    import altair as alt

    kept = _drawable(points, value)
    order = list(dict.fromkeys(str(point[category.name]) for point in kept))
    base = alt.Chart(alt.InlineData(kept))
    rows = alt.Y(f"{category.name}:N", title=category.title, sort=order).axis(labelLimit=260)
    across = _axis(alt.X, value)
    dots = base.mark_circle(size=60, opacity=0.6).encode(across, rows)
    means = base.mark_tick(thickness=3, size=18, color="#d95f02").encode(_mean_of(alt, value, alt.X), rows)
    height = max(90, 44 * len(order))
    return alt.layer(dots, means).properties(title=_title(alt, title, subtitle), width=WIDTH, height=height)


def heat(points: Points, x: Along, y: Along, value: Along, *, title: str, subtitle: str = "") -> alt.LayerChart:
    """The mean over seeds at each point of a grid, as a colour and as a number.

    Args:
        points: One dict a figure with the three names.
        x, y: The grid; each value is one column or row.
        value: What is coloured.
        title: What the picture shows, as a sentence.
        subtitle: What a field is.
    """
    import altair as alt

    kept = _means(points, (x.name, y.name), value.name)
    base = alt.Chart(alt.InlineData(kept)).encode(
        alt.X(f"{x.name}:O", title=x.title).axis(labelAngle=0),
        alt.Y(f"{y.name}:O", title=y.title, sort="descending"),
    )
    fields = base.mark_rect().encode(alt.Color(f"{value.name}:Q", title=value.title).scale(scheme="viridis"))
    numbers = base.mark_text(fontSize=9, stroke="black", strokeWidth=0.4, fill="white").encode(
        alt.Text(f"{value.name}:Q", format=".2~g")
    )
    return alt.layer(fields, numbers).properties(title=_title(alt, title, subtitle), width=WIDTH, height=HEIGHT)


def side_by_side(*charts: Any) -> alt.HConcatChart:
    """Charts in a row, each with its own scales."""
    import altair as alt

    return alt.hconcat(*charts).resolve_scale(color="independent", strokeDash="independent")


def chosen(rows: Sequence[Row], **where: Value) -> list[Row]:
    """The rows that match."""
    return [row for row in rows if all(row.get(name) == value for name, value in where.items())]


def _drawable(points: Points, *axes: Along) -> list[dict[str, Any]]:
    """Points with a finite value on each axis, positive on a logarithmic one: JSON knows no infinity."""
    return [dict(point) for point in points if all(_shown(point.get(axis.name), log=axis.log) for axis in axes)]


def _shown(value: object, *, log: bool) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value) and (value > 0 or not log)


def _means(points: Points, by: Sequence[str], name: str) -> list[dict[str, Any]]:
    found: dict[tuple[Any, ...], list[float]] = {}
    for point in points:
        value = point.get(name)
        if isinstance(value, (int, float)) and math.isfinite(value):
            found.setdefault(tuple(point[key] for key in by), []).append(float(value))
    return [{**dict(zip(by, key, strict=True)), name: sum(v) / len(v)} for key, v in found.items()]


def _axis(channel: Any, axis: Along) -> Any:
    made = channel(f"{axis.name}:Q", title=axis.title)
    return made.scale(type="log").axis(format="~g", tickCount=6) if axis.log else made.scale(zero=False)


def _mean_of(alt: Any, axis: Along, channel: Any = None) -> Any:
    # A geometric mean would be truer on a logarithmic axis; Vega has none, and the median is robust on both.
    made = (channel or alt.Y)(f"median({axis.name}):Q", title=axis.title)
    return made.scale(type="log").axis(format="~g", tickCount=6) if axis.log else made.scale(zero=False)


def _title(alt: Any, title: str, subtitle: str) -> Any:
    return alt.TitleParams(title, subtitle=subtitle) if subtitle else title
