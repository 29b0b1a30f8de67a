"""The page of a map: records into its template."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from gainstage.report.charts import chart_svg
from gainstage.report.html.templates import resource, template
from gainstage.report.map_charts import map_chart
from gainstage.report.map_text import ground, region_in_words
from gainstage.report.wording import figure
from gainstage.sweep.trainability.records import MapCell, TrainabilityMap
from gainstage.version import __version__

_COLUMNS = ("norm", "scale", "lr", "first loss", "last loss", "progress", "outcome")


@dataclass(frozen=True)
class MapView:
    """One variant as the page shows it."""

    norm: str
    svg: Markup
    words: str


def render_map_page(found: TrainabilityMap, *, title: str | None = None) -> str:
    """The page as one string of HTML.

    Args:
        found: The map.
        title: The model's name by default.
    """
    views = [
        MapView(
            region.norm, Markup(chart_svg(map_chart(found, region), prefix=f"map{number}")), region_in_words(region)
        )
        for number, region in enumerate(found.regions)
    ]
    sentence = ground(found)
    return template("map.html.j2").render(
        title=title or found.name or "Model",
        css=Markup(resource("page.css")),
        verdict=verdict_of(found),
        state="ok" if any(region.recommended_lr for region in found.regions) else "error",
        facts=[
            ("optimizer", found.optimizer), ("steps of each run", f"{found.steps:,}"),
            ("runs", f"{len(found.cells):,}"), ("variants", ", ".join(found.norms)),
        ],
        ground=sentence[:1].upper() + sentence[1:],
        views=views,
        left=[f"{norm}: not mapped: {reason}." for norm, reason in found.skipped] + list(found.notes),
        columns=_COLUMNS,
        cells=[_cells(cell) for cell in found.cells],
        version=__version__,
    )  # fmt: skip


def verdict_of(found: TrainabilityMap) -> str:
    """The map in one line: where the model as it is trains, and what trains most."""
    trained = [region for region in found.regions if region.best is not None]
    if not trained:
        return "It trains nowhere on this map."
    widest = max(trained, key=lambda region: region.area)
    own = found.regions[0]
    if own.recommended_lr is not None:
        return f"{own.norm}: learning rate {figure(own.recommended_lr)}, {figure(own.lr_decades, 2)} decades train."
    return f"{own.norm} does not train at its own initial scale; the widest region is that of {widest.norm}."


def _cells(cell: MapCell) -> tuple[str, ...]:
    outcome = "trains" if cell.trains else "no progress" if cell.diverged_at is None else "diverged"
    numbers = (cell.scale, cell.lr, cell.initial, cell.final, cell.progress)
    return (cell.norm, *(figure(number) for number in numbers), outcome)
