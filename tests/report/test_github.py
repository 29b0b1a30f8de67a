from __future__ import annotations

from gainstage.report.document import Report
from gainstage.report.github import escape_data, escape_property, github_annotations


def test_escapes() -> None:
    assert escape_data("100%\r\n: a, b") == "100%25%0D%0A: a, b"
    assert escape_property("100%\r\n: a, b") == "100%25%0D%0A%3A a%2C b"
    assert escape_data("%0A") == "%250A"


def test_one_line_a_finding(report: Report, hostile: Report, clean: Report) -> None:
    lines = github_annotations(report).splitlines()
    assert lines[0].startswith("::error title=INI002 gain-mismatch at layers.0::Each of 30 linear")
    assert lines[3].startswith("::warning title=DAT001 input-scale at (root)::Feature 17")
    assert len(lines) == 4
    assert github_annotations(hostile).count("\n") == 1
    assert "is 100%25,%0Areally: %0D[/red]" in github_annotations(hostile)
    assert github_annotations(clean) == ""
