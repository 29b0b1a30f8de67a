"""``gainstage sweep``: run a grid of small trainings, look how far it is, go on with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from gainstage import sweep
from gainstage.cli.output import deliver, stderr, stdout
from gainstage.report.sweep_json import sweep_json
from gainstage.sweep.progress import Progress as Moment

if TYPE_CHECKING:
    from gainstage.sweep import Result

FAILED = 1
_EVERY = 10.0  # seconds between two lines where there is no terminal

app = typer.Typer(
    help="Grids of small trainings: many at once, never lost.", no_args_is_help=True, rich_markup_mode=None
)


class Backend(str, Enum):
    """Where cells are trained."""

    LOCAL = "local"
    RAY = "ray"


class Format(str, Enum):
    """How the outcome is written."""

    TEXT = "text"
    JSON = "json"


_SPEC = typer.Argument(help="A specification in TOML.", metavar="SPEC", exists=False)
_STORE = typer.Argument(help="The folder of a sweep.", metavar="STORE")
_BACKEND = typer.Option(Backend.LOCAL, "--backend", help="Processes of this machine, or Ray.")
_ADDRESS = typer.Option(None, "--address", help="Of a running Ray cluster; without it one is started here.")
_WORKERS = typer.Option(None, "--workers", min=0, help="Chunks at a time; as planned by default. 0: in this process.")
_MEND = typer.Option(False, "--mend", help="Run cells again whose stored rows were lost or damaged.")
_FORMAT = typer.Option(Format.TEXT, "--format", help="Of the outcome.")


@app.command("run")
def run(
    spec: Path = _SPEC,
    store: Path | None = typer.Option(None, "--store", help="Folder that keeps everything; sweeps/NAME by default."),
    backend: Backend = _BACKEND,
    address: str | None = _ADDRESS,
    workers: int | None = _WORKERS,
    mend: bool = _MEND,
    form: Format = _FORMAT,
) -> int:
    """Train every cell of a specification; goes on with what the store has. 1: some cells failed."""
    read = sweep.Spec.from_toml(spec)
    folder = store or Path("sweeps", read.name)
    options = {"backend": backend.value, "address": address, "workers": workers, "mend": mend}
    return _show(in_sight(lambda **tell: sweep.run(read, store=folder, **options, **tell), folder), form)


@app.command("resume")
def resume(
    store: Path = _STORE,
    backend: Backend = _BACKEND,
    address: str | None = _ADDRESS,
    workers: int | None = _WORKERS,
    mend: bool = _MEND,
    form: Format = _FORMAT,
) -> int:
    """Go on with the sweep of a store, by the specification in it. 1: some cells failed."""
    options = {"backend": backend.value, "address": address, "workers": workers, "mend": mend}
    return _show(in_sight(lambda **tell: sweep.resume(store, **options, **tell), store), form)


@app.command("status")
def status(store: Path = _STORE, form: Format = _FORMAT) -> int:
    """Say how far a sweep is. 1: some cells failed."""
    return _show(sweep.Result(store), form)


def in_sight(start: Callable[..., Result], store: Path) -> Result:
    """The result of a sweep that is started here, with its plan and progress on standard error.

    Args:
        start: Starts it, given ``on_progress`` and ``on_plan``.
        store: Its folder.
    """
    try:
        with _watched(store.name) as tell:
            return start(on_progress=tell, on_plan=lambda plan: stderr().print(str(plan), markup=False, soft_wrap=True))
    except KeyboardInterrupt:
        stderr().print(f"What is done is kept; go on: gainstage sweep resume {store}", markup=False, soft_wrap=True)
        raise


def _show(result: Result, form: Format) -> int:
    told = result.status
    if form is Format.JSON:
        deliver(sweep_json(str(result.store), told), None)
    else:
        stdout().print("\n".join(_lines(result)), markup=False, soft_wrap=True)
    return FAILED if told.failed else 0


def _lines(result: Result) -> list[str]:
    told = result.status
    counts = f"{told.name}: {told.done} of {told.cells} cells done, {told.diverged} diverged, {told.failed} failed"
    lines = [counts + (f", {told.running} being worked on" if told.running else ""), f"store: {result.store}"]
    if not told.complete:
        lines.append(f"go on: gainstage sweep resume {result.store}")
    if told.failed:
        first = next(row for row in result if row.error is not None)
        lines.append(f"first failure: {_setting(first.values)}: {first.error}")
    return lines


def _setting(values: Any) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


@contextmanager
def _watched(name: str) -> Generator[Callable[[Moment], None]]:
    """Progress on standard error: a bar in a terminal, a line now and then elsewhere."""
    console = stderr()
    if not console.is_terminal:
        yield _Lines(name).tell
        return
    columns = (TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), TextColumn("{task.fields[pace]}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=None, pace="")

        def tell(moment: Moment) -> None:
            bar.update(task, completed=moment.status.done, total=moment.status.cells, pace=_pace(moment))

        yield tell


class _Lines:
    """Prints a moment if it is ten seconds after the last, or the end."""

    def __init__(self, name: str) -> None:
        self._name, self._last = name, time.monotonic()

    def tell(self, moment: Moment) -> None:
        now, told = time.monotonic(), moment.status
        if now - self._last >= _EVERY or told.complete:
            self._last = now
            line = f"{self._name}: {told.done}/{told.cells} cells, {_pace(moment)}"
            stderr().print(line, markup=False, soft_wrap=True)


def _pace(moment: Moment) -> str:
    parts = [f"{moment.rate:.3g} cells/s"]
    if moment.eta is not None and not moment.status.complete:
        parts.append(f"{_duration(moment.eta)} left")
    parts.append(f"{moment.diverged_share:.0%} diverged")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
