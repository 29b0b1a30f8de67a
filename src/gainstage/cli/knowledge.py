"""``gainstage rules`` and ``gainstage explain``: what needs no model and no torch."""

from __future__ import annotations

import re
import textwrap
from enum import Enum
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import gainstage as gs
from gainstage.cli.output import deliver, stdout
from gainstage.errors import InputError, UnknownNameError
from gainstage.report.rules_json import rules_json
from gainstage.report.theory_charts import plotted, write_chart
from gainstage.rules import RULES, Rule
from gainstage.rules.accuracy import Accuracy, measured
from gainstage.rules.base import SECTIONS
from gainstage.theory.topics import TOPICS, Topic

_COLOURS = {"error": "bold red", "warning": "yellow", "info": "cyan"}

_LEGEND = (
    "\nPrecision: of the networks that the rule warned of, those that train worse than their healthy twins.\n"
    "Recall: of the networks with a fault of its page that train worse, those whose cause was named. -: not measured.\n"
    "Preview: a limit that the rule warns by was set on one set of networks and held against no other; it may move."
)

EPILOG = f"Topics: {', '.join(topic.name for topic in TOPICS)}. Rules: gainstage rules; claims: gainstage lab list."


class Format(str, Enum):
    """How the rules are listed."""

    TEXT = "text"
    JSON = "json"


def rules(
    form: Format = typer.Option(Format.TEXT, "--format", help="Of the list."),
) -> None:
    """List the rules: code, name, severity, cause, status, and how often they were right."""
    if form is Format.JSON:
        deliver(rules_json(RULES), None)
        return
    console = stdout()
    for rule in RULES:
        style, severity = _COLOURS[rule.severities[0]], "/".join(rule.severities)
        preview = "" if rule.status == "stable" else f"  [dim]{rule.status}[/]"
        console.print(f"[bold]{rule.code}[/]  {rule.name:<24} [{style}]{severity:<20}[/] {rule.cause}{preview}")
        console.print(f"        {accuracy_words(measured().get(rule.code))}", style="dim", highlight=False)
        console.print(textwrap.indent(textwrap.fill(rule.summary, min(console.width, 100) - 8), " " * 8), markup=False)
    console.print(_LEGEND, style="dim", highlight=False)
    console.print(f"\n{len(RULES)} rules. One in full: gainstage explain {RULES[1].code}", style="dim")


def accuracy_words(counts: Accuracy | None) -> str:
    """``precision 0.97 (35 of 36), recall 0.88 (14 of 16)``; ``-`` for what was not measured."""
    found = Accuracy() if counts is None else counts
    precision = _share(found.precision, found.right_alarms, found.alarms)
    return f"precision {precision}, recall {_share(found.recall, found.found_faults, found.faults)}"


def _share(share: float | None, hits: int, total: int) -> str:
    return "-" if share is None else f"{share:.2f} ({hits} of {total})"


def explain(
    name: str = typer.Argument(
        help="a rule's code or name, a claim's or confrontation's id, or a topic of theory", metavar="NAME"
    ),
    plot: Path | None = typer.Option(None, "--plot", help="Also draw a topic's chart: FILE.svg or FILE.png."),
    activation: str = typer.Option("tanh", "--activation", help="Of that chart."),
) -> None:
    """Explain a rule, a claim of the literature, a confrontation, or a topic of theory such as edge-of-chaos."""
    console = stdout()
    topic = next((topic for topic in TOPICS if topic.name == name.lower()), None)
    if plot is not None and topic is None:
        charts = ", ".join(topic.name for topic in TOPICS if plotted(topic.name))
        raise InputError(f"explain: --plot must go with a topic that has a chart, got {name!r}. Those are {charts}.")
    if topic is not None:
        if plot is not None:
            write_chart(topic.name, activation, plot)
        _explain_topic(console, topic, plot)
        if topic.name in {claim.id for claim in gs.lab.claims()}:
            console.print("\n[bold]The claim of that name[/]")
            _explain_claim(console, topic.name)
        return
    for rule in RULES:
        if name.lower() in (rule.code.lower(), rule.name):
            _explain_rule(console, rule)
            return
    claims = {claim.id: claim for claim in gs.lab.claims()}
    if name in claims:
        _explain_claim(console, name)
        return
    confrontations = [entry.id for entry in gs.lab.confrontations()]
    if name in confrontations:
        _explain_confrontation(console, name)
        return
    known = [
        *(rule.code for rule in RULES), *(rule.name for rule in RULES), *claims, *confrontations,
        *(topic.name for topic in TOPICS),
    ]  # fmt: skip
    raise UnknownNameError("explain", "a rule, claim, confrontation or topic", name, known)


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
    _paragraph(console, "As measured (docs/accuracy.md)", f"{accuracy_words(measured().get(rule.code))}.")
    if rule.claims:
        console.print("\n[bold]Claims that it rests on, as the lab measured them[/]")
        for claim_id in rule.claims:
            console.print(f"    {claim_id}: {standing(claim_id)}", markup=False, soft_wrap=True)
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
    verdict = gs.lab.published().get(claim_id)
    if verdict is not None:
        _paragraph(console, "Verdict", f"{standing(claim_id)}. {verdict.why}")
        _paragraph(console, "Scope", f"{claim.scope.architecture}; {claim.scope.data}; {claim.scope.range}.")
    for caveat in claim.caveats:
        _paragraph(console, "Take care", caveat)
    supported = [rule.code for rule in RULES if claim_id in rule.claims]
    if supported:
        _paragraph(console, "Rules that rest on it", ", ".join(supported))
    console.print(f"\nRun it: gainstage lab run {claim_id}", style="dim")


def _explain_confrontation(console: Console, name: str) -> None:
    found = next(entry for entry in gs.lab.confrontations() if entry.id == name)
    console.print(f"[bold]{found.id}[/]\n{escape(found.title)}\n")
    _paragraph(console, "Question", found.question)
    for side in found.sides:
        claims = "; ".join(f"{claim_id}: {standing(claim_id)}" for claim_id in side.claims)
        _paragraph(console, f"One side: {side.label}", f"{side.statement} ({side.source}) By itself: {claims}.")
    for caveat in found.caveats:
        _paragraph(console, "Take care", caveat)
    console.print(f"\nMeasure it on the same networks: gainstage lab run {name}", style="dim")


def standing(claim_id: str) -> str:
    """What the shipped verdict on a claim says, in a few words."""
    verdict = gs.lab.published().get(claim_id)
    if verdict is None:
        return "not run yet"
    words = verdict.outcome.replace("-", " ")
    if verdict.outcome in ("refuted", "inconclusive"):
        words += " (advice that rests on it alone would not be borne out)"
    if verdict.effect is None:
        return words
    ends = verdict.interval
    between = "" if ends is None or ends[0] == ends[1] else f", 95 % interval {ends[0]:.3g} to {ends[1]:.3g}"
    return f"{words}, effect {verdict.effect:.3g}{between}"


def _explain_topic(console: Console, topic: Topic, plot: Path | None) -> None:
    console.print(f"[bold]{topic.name}[/]\n{escape(topic.title)}\n")
    for line in topic.formula:
        console.print(textwrap.indent(line, "    "), markup=False, soft_wrap=True)
    console.print()
    _paragraph(console, "What it says", topic.meaning)
    _paragraph(console, "Where it holds", topic.validity)
    figures = topic.table()
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for column, cell in zip(figures.columns, figures.rows[0], strict=True):
        table.add_column(column, justify="left" if isinstance(cell, str) else "right", no_wrap=True)
    for row in figures.rows:
        table.add_row(*(escape(cell) if isinstance(cell, str) else f"{cell:.4g}" for cell in row))
    console.print(f"\n[bold]{escape(figures.caption)}[/]")
    console.print(table)
    console.print("\n[bold]References[/]")
    for reference in topic.references:
        console.print(textwrap.indent(reference, "    "), markup=False, soft_wrap=True)
    _next_steps(console, topic, plot)


def _next_steps(console: Console, topic: Topic, plot: Path | None) -> None:
    console.print(f"\nOther cases: {', '.join(topic.functions)} of {topic.module}", style="dim", soft_wrap=True)
    if plot is not None:
        console.print(f"Chart written: {plot}", markup=False, soft_wrap=True)
    elif plotted(topic.name):
        console.print(f"As a chart: gainstage explain {topic.name} --plot {topic.name}.svg", style="dim")
