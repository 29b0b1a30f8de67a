"""``gainstage tour``: the main job on built-in data, from a network that cannot train to the proof that it does."""

from __future__ import annotations

import time
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape

import gainstage as gs
from gainstage.cli import labs, mending, targets
from gainstage.cli.output import stderr, stdout
from gainstage.report.levels import render_levels
from gainstage.report.text import render_text

DEMO = "gainstage.cli.demo:subject"
# The claims behind the advice that the tour gives; the last is one that the literature got wrong.
CLAIMS = ("he-variance", "scale-invariance", "lemma-4-5")
STEPS, SEEDS = 150, 3


def tour(
    html: Path = typer.Option(Path("tour.html"), "--html", help="Where to write the page."),
) -> None:
    """Check a network that cannot train, fix it, prove it, and show the evidence."""
    start = time.monotonic()
    console = stdout()
    _heading(console, 1, "A network that does not learn")
    console.print(
        "Thirty ReLU layers, standardised digits, Adam at 1e-3, torch's default initialization. "
        "Nothing in it looks wrong; its loss stays at 2.30, which is a guess among ten classes.\n"
    )
    with stderr().status("importing torch and loading the digits"):
        subject = targets.load(DEMO)
    with stderr().status("recording one forward and backward pass"):
        report = gs.check(subject)
    _heading(console, 2, "What gainstage finds")
    render_text(console, report)
    _heading(console, 3, "The level of every layer")
    render_levels(console, report.trace, findings=report.findings)
    _heading(console, 4, "The fix, and whether it helps")
    fixes = report.fixes()
    for fix in fixes:
        console.print(f"{fix.code}: {fix.summary}", markup=False)
    trial = mending.trial(subject, fixes, steps=STEPS, seeds=SEEDS)
    console.print(escape(mending.outcome(trial)), style="green" if trial.improved else "yellow")
    fixed = subject
    for fix in fixes:
        fixed = fix.apply(fixed)
    again = gs.check(fixed)
    console.print("Checked again after the fix: " + ("no problem found." if again.ok else "there is more to do."))
    _heading(console, 5, "The claims behind the advice, run again here")
    verdicts = [labs.run_claim(claim_id) for claim_id in CLAIMS]
    for verdict in verdicts:
        labs.show(verdict, brief=True)
    with stderr().status("writing the page"):
        report.to_html(html, trial=trial, verdicts=verdicts)
    console.print("Each with its figures, interval and control in the page, and by gainstage lab run ID.", style="dim")
    _heading(console, 6, "Your own network")
    _next(console, html, time.monotonic() - start)


def _heading(console: Console, number: int, title: str) -> None:
    console.print(f"\n[bold reverse] {number} [/] [bold]{escape(title)}[/]")


def _next(console: Console, html: Path, seconds: float) -> None:
    for command, purpose in (
        ("gainstage check train.py:factory", "check yours; factory() returns (model, batches, loss, optimizer)"),
        ("gainstage fix train.py:factory --verify", "try the fixes in a paired trial"),
        ("gainstage explain INI002", "a rule in full: what, why, how measured, when it is wrong"),
        ("gainstage check " + DEMO, "the network of this tour again"),
    ):
        console.print(f"    {command:<44}{purpose}", markup=False, soft_wrap=True)
    console.print(f"\nThe whole evidence as a page: {html} ({seconds:.0f} s)", markup=False, soft_wrap=True)
