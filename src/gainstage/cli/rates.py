"""``gainstage lr``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from gainstage.cli import targets
from gainstage.cli.output import deliver, stderr, stdout
from gainstage.report.picture_files import picture_path
from gainstage.report.writing import write_atomically

if TYPE_CHECKING:
    from gainstage.landscape import LearningRate


class Format(str, Enum):
    """How the suggestion is written."""

    TEXT = "text"
    JSON = "json"


class Optimizer(str, Enum):
    """Whose learning rate is asked for."""

    OWN = "own"
    SGD = "sgd"
    MOMENTUM = "momentum"
    ADAM = "adam"
    ADAMW = "adamw"


def lr(
    target: str = targets.TARGET,
    optimizer: Optimizer = typer.Option(
        Optimizer.OWN, "--optimizer", help="Whose rate; own: the TARGET's optimizer, or Adam if it has none."
    ),
    form: Format = typer.Option(Format.TEXT, "--format", help="Of the suggestion."),
    html: Path | None = typer.Option(None, "--html", help="Also write it as one self-contained page."),
    plot: Path | None = typer.Option(None, "--plot", help="Also write the picture to this .png or .svg file."),
    output: Path | None = typer.Option(None, "--output", help="Write the suggestion to this file."),
    seed: int = typer.Option(0, "--seed", help="Of the batches' order."),
    input_shape: str | None = targets.INPUT_SHAPE,
    classes: int | None = targets.CLASSES,
    batch_size: int | None = targets.BATCH_SIZE,
    weights: Path | None = targets.WEIGHTS,
) -> None:
    """Suggest a learning rate and a safe maximum, from short runs on copies."""
    if plot is not None:
        picture_path(plot)
    subject = targets.load(target, input_shape, classes, batch_size, weights)
    from gainstage.landscape import suggest_lr  # late: it needs torch

    console = stderr()
    with console.status("training copies for a few steps") if console.is_terminal else console:
        found = suggest_lr(subject, optimizer=None if optimizer is Optimizer.OWN else optimizer.value, seed=seed)
    _shown(found, form, output)
    if html is not None:
        from gainstage.report.html.lr_page import render_lr_page

        write_atomically(html, render_lr_page(found), "--html")
    if plot is not None:
        from gainstage.report.lr_charts import write_lr

        write_lr(found, plot)


def _shown(found: LearningRate, form: Format, output: Path | None) -> None:
    if form is Format.JSON:
        from gainstage.report.lr_json import lr_json

        deliver(lr_json(found), output)
        return
    from gainstage.report.lr_text import lr_lines

    console = stdout()
    lines = lr_lines(found, console.width if output is None else 100)
    if output is not None:
        deliver("\n".join(lines), output)
        return
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
