"""The report on a terminal: verdict first, then each root cause with what to do about it."""

from __future__ import annotations

import io

from rich.console import Console

from gainstage.diagnosis.records import Diagnosis
from gainstage.report.outline import Root, facts, gravest, roots
from gainstage.report.terminal import Terminal
from gainstage.report.wording import SEVERITY_WORDS, counted, module_label, tally, verdict
from gainstage.rules.base import Finding, NotAssessed, Severity

STYLES: dict[Severity, str] = {"error": "bold red", "warning": "bold yellow", "info": "bold blue"}
_PLAIN_WIDTH = 80


def render_text(console: Console, diagnosis: Diagnosis, *, target: str | None = None) -> None:
    """Prints the report.

    Args:
        console: A rich console; its width and encoding are respected.
        diagnosis: What was found.
        target: The command line's TARGET, for the lines that say what to type next; None in Python.
    """
    terminal = Terminal(console)
    _header(terminal, diagnosis)
    for root in roots(diagnosis.findings):
        terminal.raw()
        _root(terminal, root)
    _not_assessed(terminal, diagnosis)
    _next(terminal, diagnosis, target)


def plain_text(diagnosis: Diagnosis, *, target: str | None = None) -> str:
    """What `render_text` prints, 80 columns wide, without colour."""
    stream = io.StringIO()
    console = Console(file=stream, width=_PLAIN_WIDTH, color_system=None, force_terminal=False, force_jupyter=False)
    render_text(console, diagnosis, target=target)
    return stream.getvalue().rstrip("\n")


def _header(terminal: Terminal, diagnosis: Diagnosis) -> None:
    words = {"parameters": "{} parameters", "batch": "batch {}", "mode": "{} mode"}
    stated = [words.get(label, "{}").format(value) for label, value in facts(diagnosis.trace)]
    terminal.line((stated[0], "bold"), (" · " + " · ".join(stated[1:]), "dim"))
    grave = gravest(diagnosis.findings)
    style = "bold green" if diagnosis.ok or grave is None else STYLES[grave]
    terminal.line((verdict(diagnosis.findings), style))


def _root(terminal: Terminal, root: Root) -> None:
    finding = root.finding
    terminal.line(*_title(finding))
    terminal.labelled("what", finding.message, indent=2)
    terminal.labelled("why", finding.why, indent=2)
    terminal.labelled("do", finding.advice, indent=2)
    terminal.labelled("fix", finding.fix.summary if finding.fix else "", indent=2, style="green")
    if root.consequences:
        terminal.line((f"follows from it: {tally(root.consequences)}", "dim"), indent=2)
    for consequence in root.consequences:
        terminal.line(*_title(consequence), (f": {consequence.message}", ""), indent=4)


def _title(finding: Finding) -> tuple[tuple[str, str], ...]:
    return (
        (SEVERITY_WORDS[finding.severity].upper(), STYLES[finding.severity]),
        (f" {finding.code} {finding.name}", "bold"),
        (" at ", "dim"),
        (module_label(finding.module), "bold cyan"),
    )


def _not_assessed(terminal: Terminal, diagnosis: Diagnosis) -> None:
    entries, skipped = diagnosis.not_assessed, diagnosis.trace.skipped
    if not entries and not skipped:
        return
    terminal.raw()
    if entries:
        terminal.line((f"not assessed: {counted(len(entries), 'rule')}", "dim"))
    for reason, codes in by_reason(entries).items():
        terminal.line((f"{', '.join(codes)}: {reason}", "dim"), indent=2)
    for line in skipped:
        terminal.line((f"not measured: {line}", "dim"))


def by_reason(entries: tuple[NotAssessed, ...]) -> dict[str, list[str]]:
    """Codes under each reason: a missing optimizer silences many rules with the same words."""
    table: dict[str, list[str]] = {}
    for entry in entries:
        table.setdefault(entry.reason, []).append(entry.code)
    return table


def _next(terminal: Terminal, diagnosis: Diagnosis, target: str | None) -> None:
    terminal.raw()
    terminal.line(("next", "dim"))
    steps = next_steps(diagnosis, target)
    # Side by side where all lines fit; a long target would else be broken in the middle.
    column = max(len(command) for command, _ in steps) + 2
    fits = all(column + len(what) + 2 <= terminal.width for _, what in steps)
    for command, what in steps:
        terminal.line((command.ljust(column) if fits else command, "bold"), (what if fits else "", "dim"), indent=2)
        if not fits:
            terminal.line((what, "dim"), indent=4)


def next_steps(diagnosis: Diagnosis, target: str | None) -> tuple[tuple[str, str], ...]:
    """What to type now and what that does: commands with a target, else Python."""
    steps: list[tuple[str, str]] = []
    if diagnosis.fixes():
        steps.append(
            (f"gainstage fix {target} --verify", "apply the fixes and prove them in a paired trial")
            if target
            else ("gs.verify(subject, report.fixes())", "prove the fixes in a paired trial")
        )
    if diagnosis.findings:
        steps.append((f"gainstage explain {diagnosis.findings[0].code}", "how the first finding is measured, and why"))
    if target:
        if diagnosis.ok and diagnosis.trace.trial is None and diagnosis.trace.optimizer is not None:
            steps.append((f"gainstage check {target} --steps 200", "also try the optimizer, on a copy"))
        steps.append((f"gainstage check {target} --html report.html", "the whole picture, layer by layer"))
    else:
        steps.append(("report.to_html('report.html')", "the whole picture, layer by layer"))
    return tuple(steps)
