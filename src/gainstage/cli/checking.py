"""``gainstage check``."""

from __future__ import annotations

import io
from enum import Enum
from pathlib import Path
from urllib.parse import quote

import typer
from rich.console import Console

import gainstage as gs
from gainstage.cli import targets
from gainstage.cli.output import deliver, stdout
from gainstage.report.github import github_annotations
from gainstage.report.levels import render_levels
from gainstage.report.text import render_text


class Format(str, Enum):
    """How the report is written."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    GITHUB = "github"


class FailOn(str, Enum):
    """The least severity that makes the command fail."""

    ERROR = "error"
    WARNING = "warning"
    NEVER = "never"


def check(
    target: str = targets.TARGET,
    steps: int = typer.Option(0, "--steps", min=0, help="Also train a copy for so many steps; needs an optimizer."),
    select: str | None = typer.Option(None, "--select", help="Only these rules: codes or prefixes, comma-separated."),
    ignore: str | None = typer.Option(None, "--ignore", help="Not these rules."),
    fail_on: FailOn | None = typer.Option(
        None, "--fail-on", help="Exit with 1 from this severity on; warning, if pyproject.toml has no other."
    ),
    form: Format = typer.Option(Format.TEXT, "--format", help="Of the report."),
    html: Path | None = typer.Option(None, "--html", help="Also write the report as one self-contained page."),
    output: Path | None = typer.Option(None, "--output", help="Write the report to this file."),
    seed: int = typer.Option(0, "--seed", help="Of all random generators during the measurement."),
    input_shape: str | None = targets.INPUT_SHAPE,
    classes: int | None = targets.CLASSES,
    batch_size: int | None = targets.BATCH_SIZE,
    weights: Path | None = targets.WEIGHTS,
) -> int:
    """Measure how signal and gradient travel through a network, and name what is wrong with it.

    What pyproject.toml says under [tool.gainstage] holds where an option is left out.
    """
    settings = targets.settings(target)
    subject = targets.load(target, input_shape, classes, batch_size, weights)
    options = settings.check_options()
    options.update({name: value for name, value in (("select", select), ("ignore", ignore)) if value is not None})
    report = gs.check(subject, steps=steps, seed=seed, **options)
    if form is Format.TEXT and output is None:
        console = stdout()
        render_text(console, report, target=target)
        if not report.ok:
            render_levels(console, report.trace, findings=report.findings)
    else:
        deliver(_written(report, form, target), output)
    if html is not None:
        report.to_html(html)
    return int(report.fails(settings.fail_on if fail_on is None else fail_on.value))


def _written(report: gs.Report, form: Format, target: str) -> str:
    if form is Format.JSON:
        return report.to_json()
    if form is Format.SARIF:
        return report.to_sarif(artifact=_artifact(target))
    if form is Format.GITHUB:
        return github_annotations(report)
    text = io.StringIO()
    render_text(Console(file=text, width=100, highlight=False), report, target=target)
    return text.getvalue()


def _artifact(target: str) -> str | None:
    """URI of a TARGET's file; relative to the working directory if it lies there, as scanners want it."""
    file = Path(target.rpartition(":")[0])
    if file.suffix != ".py":
        return None
    here, place = Path.cwd(), file.absolute()
    return quote(place.relative_to(here).as_posix() if place.is_relative_to(here) else file.as_posix())
