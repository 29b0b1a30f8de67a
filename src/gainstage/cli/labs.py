"""``gainstage lab``: list the claims, run them, compare two runs, write the report."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

import gainstage as gs
from gainstage.cli.output import stderr, stdout
from gainstage.errors import InputError
from gainstage.report.html.lab_site import write_site

FLIPPED = 1
STORE = Path("gainstage-lab")
STYLES = {"supported": "green", "refuted": "red", "inconclusive": "yellow", "not-run": "dim", "heard": "cyan"}
# Read by the processes that load the data.
CIFAR_VARIABLE = "GAINSTAGE_CIFAR10"

app = typer.Typer(
    help="The claims of the literature, re-run with an honest verdict.", no_args_is_help=True, rich_markup_mode=None
)


class Backend(str, Enum):
    """Where seeds are measured."""

    LOCAL = "local"
    RAY = "ray"


@app.command("list")
def listing(
    verdicts: bool = typer.Option(False, "--verdicts", help="Show the verdicts that ship with gainstage."),
) -> None:
    """List the claims and the confrontations."""
    published = gs.lab.published()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("id", *(["verdict"] if verdicts else []), "statement", "source"):
        table.add_column(heading, no_wrap=heading in ("id", "verdict"))
    for claim in gs.lab.claims():
        word = [_word(published[claim.id].outcome) if claim.id in published else ""] if verdicts else []
        table.add_row(claim.id, *word, escape(claim.statement), escape(claim.source))
    stdout().print(table)
    stdout().print("\nConfrontations: both sides on the same networks", style="bold")
    for confrontation in gs.lab.confrontations():
        stdout().print(f"{confrontation.id}  {confrontation.title}", markup=False)


@app.command("run")
def run(
    ids: list[str] = typer.Argument(None, help="which claims or confrontations", metavar="[ID...]"),
    everything: bool = typer.Option(False, "--all", help="All of them."),
    preset: str = typer.Option("quick", "--preset", help="quick or full."),
    seeds: int | None = typer.Option(None, "--seeds", min=1, help="How many seeds; the design's number by default."),
    base_seed: int = typer.Option(0, "--base-seed", min=0, help="Added to each seed: the same with other draws."),
    store: Path = typer.Option(STORE, "--store", help="Folder that keeps results: a run that was stopped goes on."),
    backend: Backend = typer.Option(Backend.LOCAL, "--backend", help="Processes of this machine, or Ray."),
    workers: int | None = typer.Option(None, "--workers", min=1, help="Seeds at a time; all cores by default."),
    address: str | None = typer.Option(None, "--address", help="Of a running Ray cluster."),
    data: Path | None = typer.Option(None, "--data", help="Folder with CIFAR-10, for the full preset."),
) -> None:
    """Run claims and judge them; what the store has is not run again."""
    if not everything and not ids:
        raise InputError("lab run: name at least one claim, got none. Add --all, or see gainstage lab list.")
    if data is not None:
        os.environ[CIFAR_VARIABLE] = str(data.resolve())
    with _progress("measuring") as (told, console):
        found = gs.lab.run_all(
            None if everything else ids, preset=preset, seeds=seeds, base_seed=base_seed, store=store,
            backend=backend.value, workers=workers, address=address, on_progress=told,
            on_result=lambda result: _print_result(console, result, brief=everything or len(ids) > 1),
        )  # fmt: skip
    if len(found) > 1:
        stdout().print(f"\n{_counts([result for result in found if isinstance(result, gs.lab.Verdict)])}")
    stdout().print(f"Kept in {store}. Pages with every figure: gainstage lab report --store {store}", style="dim")


@app.command("report")
def report(
    store: Path = typer.Option(STORE, "--store", help="Folder of gainstage lab run."),
    output: Path = typer.Option(Path("lab-report"), "--output", help="Folder for the pages."),
) -> None:
    """Write the results of a store as a site: a page for each claim and confrontation, and a summary."""
    verdicts, hearings = gs.lab.verdicts(store), gs.lab.hearings(store)
    with stderr().status("drawing"):
        index = write_site(output, verdicts, hearings)
    stdout().print(f"{_counts(verdicts)}\nWritten: {index}", markup=False, soft_wrap=True)


@app.command("diff")
def diff(
    first: Path = typer.Argument(help="a store", metavar="A"),
    second: Path = typer.Argument(help="another store", metavar="B"),
    everything: bool = typer.Option(False, "--all", help="Also the claims on which they agree."),
) -> int:
    """Compare two runs, claim by claim. 1: a claim is supported by one and refuted by the other."""
    found = gs.lab.diff(gs.lab.verdicts(first), gs.lab.verdicts(second))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("claim", str(first), str(second), "made with another"):
        table.add_column(escape(heading))
    for pair in found.pairs:
        if everything or not pair.agrees:
            sides = (_measured(pair.first), _measured(pair.second))
            table.add_row(pair.claim_id, *sides, ", ".join(pair.differs))
    if table.row_count:
        stdout().print(table)
    share = "none to compare" if found.agreement is None else f"{found.agreement:.0%} of {found.compared} agree"
    stdout().print(f"{share}; {len(found.flips)} supported by one and refuted by the other.")
    return FLIPPED if found.flips else 0


def run_claim(claim_id: str) -> gs.lab.Verdict:
    """Runs one claim in this process, with a progress bar on standard error."""
    with _progress(claim_id) as (told, _):
        return gs.lab.run(claim_id, on_progress=told)


def show(verdict: gs.lab.Verdict, *, brief: bool = False, console: Console | None = None) -> None:
    """Prints one verdict; in brief, only the first sentence of its reason and whether the control held."""
    console = console or stdout()
    effect = f"  {measured_words(verdict)}" if verdict.effect is not None else ""
    note = f"  [dim]({verdict.prediction_note})[/]" if verdict.prediction_note else ""
    console.print(f"{_word(verdict.outcome)}  [bold]{verdict.claim_id}[/]  {escape(verdict.statement)}{note}")
    why = first_sentence(verdict.why) if brief else verdict.why + effect
    console.print(f"    {escape(why)}")
    if brief and verdict.control is not None:
        console.print(f"    Control: {verdict.control.outcome}.", style="dim")
    elif verdict.control is not None:
        console.print(f"    Control: {escape(verdict.control.statement)} {escape(verdict.control.why)}", style="dim")


def measured_words(verdict: gs.lab.Verdict) -> str:
    """The effect with its interval and what it rests on."""
    ends = verdict.interval
    interval = "" if ends is None or ends[0] == ends[1] else f", 95 % interval {ends[0]:.3g} to {ends[1]:.3g}"
    return "" if verdict.effect is None else f"effect {verdict.effect:.3g}{interval}, n = {verdict.n}"


def first_sentence(text: str) -> str:
    """Up to the first full stop that ends one."""
    # An ellipsis between two figures ends no sentence.
    return re.split(r"(?<=[^.]\.) (?=[A-Z])", text, maxsplit=1)[0]


def _print_result(console: Console, result: gs.lab.Verdict | gs.lab.Hearing, *, brief: bool) -> None:
    # While a bar is on standard error, rich keeps the lines above it only if they go to the same console.
    target = console if console.is_terminal and stdout().is_terminal else stdout()
    if isinstance(result, gs.lab.Verdict):
        show(result, brief=brief, console=target)
        return
    target.print(f"{_word(result.outcome)}  [bold]{result.confrontation_id}[/]  {escape(result.title)}")
    for side in result.sides:
        why = "" if brief else f" {side.why}"
        target.print(f"    {_word(side.outcome)}  {escape(side.statement + why)}")
    target.print(f"    {escape(result.reading or result.why)}")


def _word(outcome: str) -> str:
    return f"[{STYLES[outcome]}]{outcome.upper().replace('-', ' ')}[/]"


def _counts(verdicts: tuple[gs.lab.Verdict, ...] | list[gs.lab.Verdict]) -> str:
    counts = {name: sum(v.outcome == name for v in verdicts) for name in ("supported", "refuted", "inconclusive")}
    rest = sum(verdict.outcome == "not-run" for verdict in verdicts)
    return f"{len(verdicts)} claims: " + ", ".join(f"{n} {word}" for word, n in counts.items()) + f", {rest} not run."


def _measured(verdict: gs.lab.Verdict | None) -> str:
    return "not there" if verdict is None else f"{_word(verdict.outcome)} {measured_words(verdict)}".rstrip()


@contextmanager
def _progress(what: str) -> Generator[tuple[Callable[[int, int], None], Console]]:
    columns = (
        TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    console = stderr()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=None)

        def told(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield told, console
