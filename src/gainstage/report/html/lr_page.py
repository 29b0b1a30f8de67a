"""The page of a suggested learning rate: the record into its template."""

from __future__ import annotations

import math

from markupsafe import Markup

from gainstage.landscape.learning_rate.records import LearningRate
from gainstage.report.charts import chart_svg
from gainstage.report.html.templates import resource, template
from gainstage.report.lr_charts import LEGEND, lr_chart
from gainstage.report.lr_text import basis, sentence
from gainstage.report.wording import figure
from gainstage.version import __version__

_RUNS = ("learning rate", "outcome", "first loss", "last loss", "steps")
_PROFILE = ("step", "relative loss")


def render_lr_page(found: LearningRate, *, title: str | None = None) -> str:
    """The page as one string of HTML.

    Args:
        found: The suggestion.
        title: The model's name by default.
    """
    start, most = figure(found.recommended, 2), figure(found.safe_max, 2)
    profile = zip(found.profile.steps, found.profile.mean, strict=True)
    return template("lr.html.j2").render(
        title=title or found.name or "Model",
        css=Markup(resource("page.css")),
        verdict=f"Start at a learning rate of {start}; go no higher than {most}.",
        facts=[
            ("optimizer", found.optimizer), ("recommended", start),
            ("safe maximum", most), ("noise of a batch", figure(found.noise, 2)),
            ("curvature limit 2/λ", figure(found.curvature_limit, 2)),
        ],
        reason=f"{sentence(found.reason)} {found.validity}",
        notes=found.notes,
        svg=Markup(chart_svg(lr_chart(found), prefix="lr")),
        legend=f"{sentence(LEGEND)}. What left the picture stands at its upper edge.",
        basis=basis(found),
        run_heads=_RUNS,
        runs=[
            (
                figure(run.lr), "held" if run.held else "lost its way", figure(run.losses[0]),
                figure(run.last) if math.isfinite(run.last) else "broke down", str(len(run.losses)),
            )
            for run in found.runs
        ],
        profile_heads=_PROFILE,
        profile=[(figure(step), figure(loss)) for step, loss in profile],
        version=__version__,
    )  # fmt: skip
