"""A map of trainability as heat maps, in files and in a page."""

from __future__ import annotations

import importlib
import itertools
import os
from pathlib import Path
from typing import Any

from gainstage.report.picture_files import write_picture
from gainstage.sweep.trainability.lattice import Axis
from gainstage.sweep.trainability.records import Region, TrainabilityMap

_SIDE = 250
# From nothing to the best run; runs that diverged are of another colour, and so is a loss that rose.
_PROGRESS = {"domain": [0, 0.5, 0.5001, 1], "range": ["#eef1f3", "#a9c3cf", "#5fae98", "#0d5c4b"]}
_DIVERGED, _MARK = "#c2603a", "#111111"


def map_chart(found: TrainabilityMap, region: Region) -> Any:
    """The altair heat map of one variant: colour is progress, a ring is the recommended learning rate.

    Args:
        found: The map.
        region: Of the variant.
    """
    alt: Any = importlib.import_module("altair")  # slow, and only pictures need it

    filled = found.filled(region.norm)
    (left, right), (low, high) = (_borders(axis) for axis in (found.rates, found.scales))
    rows = [
        {
            "left": left[column], "right": right[column], "low": low[row], "high": high[row],
            "progress": max(0.0, cell.progress), "diverged": cell.diverged_at is not None,
        }
        for (row, column), cell in filled.items()
    ]  # fmt: skip
    x = alt.X("left:Q", title="learning rate").scale(type="log", domain=[left[0], right[-1]], nice=False)
    y = alt.Y("low:Q", title="initial scale").scale(type="log", domain=[low[0], high[-1]], nice=False)
    x, y = (channel.axis(grid=False, format="~e", tickCount=6, labelOverlap=True) for channel in (x, y))
    colour = alt.Color("progress:Q", title="progress").scale(type="linear", clamp=True, **_PROGRESS)
    cells = alt.Chart(alt.Data(values=rows)).mark_rect(strokeWidth=0.4)
    place = {"x": x, "x2": "right:Q", "y": y, "y2": "high:Q"}
    trained = cells.transform_filter("!datum.diverged").encode(
        **place, color=colour, stroke=alt.Stroke("progress:Q", legend=None, scale=colour.to_dict()["scale"])
    )
    lost = cells.transform_filter("datum.diverged").encode(
        **place, color=alt.value(_DIVERGED), stroke=alt.value(_DIVERGED)
    )
    layers = [trained, lost, *_marks(region)]
    return alt.layer(*layers).properties(width=_SIDE, height=_SIDE, title=region.norm)


def _marks(region: Region) -> list[Any]:
    alt: Any = importlib.import_module("altair")

    if region.recommended_lr is None:
        return []
    point = alt.Chart(alt.Data(values=[{"lr": region.recommended_lr, "scale": 1.0}]))
    ring = point.mark_point(size=110, filled=False, strokeWidth=2.4, color=_MARK)
    return [ring.encode(x="lr:Q", y="scale:Q")]


def _borders(axis: Axis) -> tuple[list[float], list[float]]:
    """Where each value's rectangle begins and ends: halfway to its neighbours, and as far beyond at the ends."""
    values = axis.values
    middles = [(one * other) ** 0.5 for one, other in itertools.pairwise(values)]
    if not middles:
        return [values[0] / 2], [values[0] * 2]
    return [values[0] ** 2 / middles[0], *middles], [*middles, values[-1] ** 2 / middles[-1]]


def write_map(found: TrainabilityMap, path: str | os.PathLike[str]) -> Path:
    """Writes the heat maps of all variants as one SVG or PNG, by the file's ending, and returns the path.

    Args:
        found: The map.
        path: Ends in .svg or .png; the folder must exist.

    Raises:
        InputError: if the ending is another, or the file cannot be written.
    """
    alt: Any = importlib.import_module("altair")

    charts = [map_chart(found, region) for region in found.regions]
    title = f"Where {found.name or 'the model'} trains: {found.steps} steps of {found.optimizer}"
    whole = alt.concat(*charts, columns=3, title=alt.Title(title, subtitle=_LEGEND))
    return write_picture(whole, path)


_LEGEND = "green: makes at least half of the best run's progress; red: diverged; ring: recommended learning rate"
