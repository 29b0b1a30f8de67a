"""``gainstage map``."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from gainstage.cli import targets
from gainstage.cli.output import deliver, stderr, stdout
from gainstage.cli.sweeping import in_sight
from gainstage.errors import InputError
from gainstage.report.picture_files import picture_path
from gainstage.report.writing import write_atomically

if TYPE_CHECKING:
    from gainstage.sweep import TrainabilityMap

INTERRUPTED = 130
_EVERY = 10.0  # seconds between two lines where there is no terminal


class Format(str, Enum):
    """How the map is written."""

    TEXT = "text"
    JSON = "json"


def map_(
    context: typer.Context,
    target: str = typer.Argument(
        help=f"{targets.FORMS}; or the .toml specification of a sweep over scale and lr",
        metavar="TARGET|SPEC",
    ),
    norms: str = typer.Option(
        "as-is,none,batch,group,layer", "--norms", help="Variants of the model, comma-separated; the first ones first."
    ),
    scales: str = typer.Option("0.01,100", "--scales", help="Factors on the initial weights, from and to."),
    rates: str = typer.Option("1e-5,10", "--lrs", help="Learning rates, from and to."),
    steps: int = typer.Option(100, "--steps", min=2, help="Optimizer steps of each run."),
    budget: float = typer.Option(
        150.0, "--budget", min=1.0, help="Seconds after which no run is begun, kept ones counted."
    ),
    form: Format = typer.Option(Format.TEXT, "--format", help="Of the map."),
    html: Path | None = typer.Option(None, "--html", help="Also write the map as one self-contained page."),
    plot: Path | None = typer.Option(None, "--plot", help="Also write the heat maps to this .png or .svg file."),
    output: Path | None = typer.Option(None, "--output", help="Write the map to this file."),
    store: Path | None = typer.Option(
        None,
        "--store",
        help="Folder that keeps every run, to go on where it stopped. Of a SPEC: sweeps/NAME by default.",
    ),
    seed: int = typer.Option(0, "--seed", help="Of the batches' order."),
    input_shape: str | None = targets.INPUT_SHAPE,
    classes: int | None = targets.CLASSES,
    batch_size: int | None = targets.BATCH_SIZE,
    weights: Path | None = targets.WEIGHTS,
) -> int:
    """Show where a network trains, over initial scale, learning rate and normalization."""
    if plot is not None:
        picture_path(plot)
    limits = _range("--scales", scales), _range("--lrs", rates)
    if target.endswith(".toml"):
        return _written(_of_sweep(Path(target), store), form, output, html, plot)
    subject = targets.load(target, input_shape, classes, batch_size, weights)
    from gainstage.sweep.trainability import trainability_map  # late: it needs torch

    with _watched() as tell:
        found = trainability_map(
            subject, norms=tuple(name.strip() for name in norms.split(",") if name.strip()), scales=limits[0],
            rates=limits[1], steps=steps, budget=budget, seed=seed, store=store, on_progress=tell,
        )  # fmt: skip
    status = _written(found, form, output, html, plot)
    if not found.complete:
        stderr().print(_next(found, context, budget), markup=False, soft_wrap=True)
    return status


@contextmanager
def _watched() -> Generator[Callable[[int, str], None]]:
    """Progress on standard error: a line that changes in a terminal, one now and then elsewhere."""
    console = stderr()
    if not console.is_terminal:
        last = time.monotonic()

        def tell(done: int, what: str) -> None:
            nonlocal last
            if time.monotonic() - last >= _EVERY:
                last = time.monotonic()
                console.print(f"map: {done} runs: {what}", markup=False, soft_wrap=True)

        yield tell
        return
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("map", total=None)
        yield lambda done, what: progress.update(task, description=f"{done} runs: {what}")


def _next(found: TrainabilityMap, context: typer.Context, budget: float) -> str:
    """How to go on with a map that is not complete."""
    kept = context.params["store"] is not None
    if found.interrupted:
        if not kept:
            return "Nothing is kept: --store FOLDER keeps every run, and the same command goes on then."
        return f"What is done is kept; go on: {_command(context)}"
    more = _command(context, budget=2 * budget)
    return f"{'What is done is kept; follow' if kept else 'Follow'} the boundary further: {more}"


def _command(context: typer.Context, **changed: Any) -> str:
    """This command as it was given, with some options changed."""
    parts = ["gainstage", "map"]
    for parameter in context.command.params:
        name = str(parameter.name)
        value = changed.get(name, context.params[name])
        if parameter.param_type_name == "argument":
            parts.append(str(value))
        elif value != parameter.default:
            shown = f"{value:g}" if isinstance(value, float) else value.value if isinstance(value, Enum) else str(value)
            parts.extend((parameter.opts[0], shown))
    return shlex.join(parts)


def _of_sweep(spec: Path, store: Path | None) -> TrainabilityMap:
    """The map of a sweep over scale and lr, which is run first, or gone on with."""
    from gainstage import sweep  # late: it needs torch

    read = sweep.Spec.from_toml(spec)
    folder = store or Path("sweeps", read.name)
    found = in_sight(lambda **tell: sweep.run(read, store=folder, **tell), folder)
    return sweep.map_of_rows(found, name=read.name)


def _written(found: TrainabilityMap, form: Format, output: Path | None, html: Path | None, plot: Path | None) -> int:
    """Shows the map in every form that was asked for, and returns the exit status."""
    _shown(found, form, output)
    if html is not None:
        from gainstage.report.html.map_page import render_map_page

        write_atomically(html, render_map_page(found), "--html")
    if plot is not None:
        from gainstage.report.map_charts import write_map

        write_map(found, plot)
    return INTERRUPTED if found.interrupted else 0


def _shown(found: TrainabilityMap, form: Format, output: Path | None) -> None:
    from gainstage.report.map_text import map_lines

    if form is Format.JSON:
        deliver(found.to_json(), output)
        return
    console = stdout()
    lines = map_lines(found, console.width if output is None else 100)
    if output is not None:
        deliver("\n".join(lines), output)
        return
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def _range(name: str, text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{name}: must be two numbers, from and to, such as 0.01,100, got {text!r}.") from None
    return low, high
