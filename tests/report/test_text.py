"""What people read on a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from gainstage.report.document import Report
from gainstage.report.levels import render_levels
from gainstage.report.text import render_text


def printed(report: Report, *, width: int = 80, encoding: str = "utf-8", levels: bool = False) -> str:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    console = Console(file=stream, width=width, highlight=False)
    render_text(console, report, target="train.py:factory")
    if levels:
        render_levels(console, report.trace, findings=report.findings)
    stream.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_stays_within_the_width_and_has_no_control_codes(report: Report, width: int) -> None:
    text = printed(report, width=width, levels=True)
    commands = [line for line in text.splitlines() if "gainstage " in line]
    assert all(len(line) <= width for line in text.splitlines() if line not in commands)
    assert "\x1b" not in text


def test_says_what_why_and_what_to_do_in_this_order(report: Report) -> None:
    text = " ".join(printed(report, width=200).split())
    root = report.findings[0]
    places = [text.index(" ".join(part.split())) for part in (root.code, root.message, root.why, root.advice)]
    assert places == sorted(places)


def test_consequences_stand_under_their_cause(report: Report) -> None:
    text = printed(report)
    for finding in report.findings:
        if finding.consequence_of is not None:
            assert text.index(finding.consequence_of) < text.index(finding.code)
    assert "follows from it" in text or "follow from it" in text


def test_a_healthy_network_gets_one_line(clean: Report) -> None:
    assert "No problem found" in printed(clean)
    assert "WARNING" not in printed(clean)


def test_names_are_not_markup(hostile: Report) -> None:
    text = printed(hostile, levels=True)
    assert "<script>" in text
    assert "[red]" in text
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_a_terminal_without_unicode_gets_ascii(report: Report) -> None:
    assert printed(report, encoding="ascii", levels=True).isascii()


def test_no_layer_that_a_finding_names_is_left_out(report: Report) -> None:
    raw = io.StringIO()
    render_levels(Console(file=raw, width=100), report.trace, findings=report.findings, most_lines=10)
    named = {report.findings[0].module}
    assert all(name in raw.getvalue() for name in named)
    assert str(report).splitlines()[0].startswith(report.trace.name)
