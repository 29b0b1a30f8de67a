"""``gainstage lab``: list the claims, run them."""

from __future__ import annotations

import re
from pathlib import Path

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import gainstage as gs
from gainstage.cli.output import stderr, stdout
from gainstage.errors import InputError

app = typer.Typer(
    help="The claims of the literature, re-run with an honest verdict.", no_args_is_help=True, rich_markup_mode=None
)
STYLES = {"supported": "green", "refuted": "red", "inconclusive": "yellow", "not-run": "dim"}


@app.command("list")
def listing() -> None:
    """List the claims."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("id", "statement", "source"):
        table.add_column(heading, no_wrap=heading == "id")
    for claim in gs.lab.claims():
        table.add_row(claim.id, escape(claim.statement), escape(claim.source))
    stdout().print(table)


@app.command("run")
def run(
    ids: list[str] = typer.Argument(None, help="which claims", metavar="[ID...]"),
    everything: bool = typer.Option(False, "--all", help="All of them."),
    preset: str = typer.Option("quick", "--preset", help="quick or full."),
    seeds: int | None = typer.Option(None, "--seeds", min=1, help="How many seeds; the design's number by default."),
    store: Path | None = typer.Option(None, "--store", help="Folder that keeps results, so that a run can go on."),
) -> None:
    """Run claims and judge them."""
    chosen = [claim.id for claim in gs.lab.claims()] if everything else list(ids or ())
    if not chosen:
        raise InputError("lab run: name at least one claim, got none. Add --all, or see gainstage lab list.")
    for claim_id in chosen:
        show(run_claim(claim_id, preset=preset, seeds=seeds, store=store))


def run_claim(
    claim_id: str, *, preset: str = "quick", seeds: int | None = None, store: Path | None = None
) -> gs.lab.Verdict:
    """Runs one claim with a progress bar on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn())
    console = stderr()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(claim_id, total=None)

        def advance(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        return gs.lab.run(claim_id, preset=preset, seeds=seeds, store=store, on_progress=advance)


def show(verdict: gs.lab.Verdict, *, brief: bool = False) -> None:
    """Prints one verdict; in brief, only the first sentence of its reason and whether the control held."""
    console = stdout()
    style = STYLES[verdict.outcome]
    interval = (
        "" if verdict.interval is None else f", 95 % interval {verdict.interval[0]:.3g} to {verdict.interval[1]:.3g}"
    )
    effect = "" if verdict.effect is None else f"  effect {verdict.effect:.3g}{interval}, n = {verdict.n}"
    console.print(f"[{style}]{verdict.outcome.upper()}[/]  [bold]{verdict.claim_id}[/]  {escape(verdict.statement)}")
    why = _first_sentence(verdict.why) if brief else verdict.why + effect
    console.print(f"    {escape(why)}")
    if brief and verdict.control is not None:
        console.print(f"    Control: {verdict.control.outcome}.", style="dim")
    elif verdict.control is not None:
        console.print(f"    Control: {escape(verdict.control.statement)} {escape(verdict.control.why)}", style="dim")


def _first_sentence(text: str) -> str:
    # An ellipsis between two figures ends no sentence.
    return re.split(r"(?<=[^.]\.) (?=[A-Z])", text, maxsplit=1)[0]
