"""``gainstage rules`` and ``gainstage explain``: what needs no model and no torch."""

from __future__ import annotations

import re
import textwrap

import typer
from rich.console import Console
from rich.markup import escape

import gainstage as gs
from gainstage.cli.output import stdout
from gainstage.errors import UnknownNameError
from gainstage.rules import RULES, Rule
from gainstage.rules.base import SECTIONS

_COLOURS = {"error": "bold red", "warning": "yellow", "info": "cyan"}


def rules() -> None:
    """List the rules: code, name, severity, cause."""
    console = stdout()
    for rule in RULES:
        style, severity = _COLOURS[rule.severities[0]], "/".join(rule.severities)
        console.print(f"[bold]{rule.code}[/]  {rule.name:<24} [{style}]{severity:<20}[/] {rule.cause}")
        console.print(textwrap.indent(textwrap.fill(rule.summary, min(console.width, 100) - 8), " " * 8), markup=False)
    console.print(f"\n{len(RULES)} rules. One in full: gainstage explain {RULES[1].code}", style="dim")


def explain(
    name: str = typer.Argument(help="a rule's code or name, or a claim's id", metavar="CODE-or-CLAIM-ID"),
) -> None:
    """Explain a rule, or a claim of the literature."""
    console = stdout()
    for rule in RULES:
        if name.lower() in (rule.code.lower(), rule.name):
            _explain_rule(console, rule)
            return
    claims = {claim.id: claim for claim in gs.lab.claims()}
    if name in claims:
        _explain_claim(console, name)
        return
    known = [*(rule.code for rule in RULES), *(rule.name for rule in RULES), *claims]
    raise UnknownNameError("explain", "a rule or claim", name, known)


def _explain_rule(console: Console, rule: Rule) -> None:
    style = _COLOURS[rule.severities[0]]
    console.print(f"[{style}]{rule.code}[/] [bold]{rule.name}[/]  ({'/'.join(rule.severities)}; cause: {rule.cause})")
    console.print(escape(rule.summary) + "\n")
    for heading, text in sections(rule.page):
        _paragraph(console, heading, text)
    for threshold in rule.thresholds:
        text = f"{threshold.value:g} {threshold.unit}. Source: {threshold.source}."
        _paragraph(console, f"Threshold {threshold.name}", text)
    console.print("\n[bold]It fires on[/]")
    console.print(textwrap.indent(rule.bad.source, "    "), markup=False)
    console.print("\n[bold]It is silent on[/]")
    console.print(textwrap.indent(rule.good.source, "    "), markup=False)
    if rule.claims:
        console.print("\n[bold]Claims that bear it out[/]")
        for claim_id in rule.claims:
            console.print(f"    {claim_id}: gainstage explain {claim_id}")
    if rule.explains:
        console.print(f"\n[bold]It explains[/], where both are found: {', '.join(rule.explains)}")


def sections(page: str) -> list[tuple[str, str]]:
    """Heading and text of each section of a rule's page."""
    parts = re.split(rf"^({'|'.join(SECTIONS)}):", page, flags=re.MULTILINE)
    return [(heading, " ".join(text.split())) for heading, text in zip(parts[1::2], parts[2::2], strict=True)]


def _paragraph(console: Console, heading: str, text: str) -> None:
    console.print(f"[bold]{escape(heading)}[/]")
    width = min(console.width, 100)
    console.print(textwrap.fill(text, width, initial_indent="    ", subsequent_indent="    "), markup=False)


def _explain_claim(console: Console, claim_id: str) -> None:
    claim = next(claim for claim in gs.lab.claims() if claim.id == claim_id)
    console.print(f"[bold]{claim.id}[/]\n{escape(claim.statement)}\n")
    _paragraph(console, "Source", claim.source)
    _paragraph(console, "Prediction, fixed before the run", claim.prediction)
    _paragraph(console, "Control", claim.control.statement)
    for caveat in claim.caveats:
        _paragraph(console, "Take care", caveat)
    supported = [rule.code for rule in RULES if claim_id in rule.claims]
    if supported:
        _paragraph(console, "Rules that rest on it", ", ".join(supported))
    console.print(f"\nRun it: gainstage lab run {claim_id}", style="dim")
