"""Codes, names, severities and causes are what others write into their settings: none changes unnoticed.

After a change that is meant: python tests/rules/test_snapshot.py, and a line in CHANGELOG.md.
"""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest

from gainstage.rules import RULES

SNAPSHOT = Path(__file__).parent / "snapshot" / "rules.txt"
COMMAND = "python tests/rules/test_snapshot.py"


def current() -> str:
    """A line a rule, in the order of the codes: where it stands in the catalogue may change."""
    lines = [f"{rule.code} {rule.name} {'/'.join(rule.severities)} {rule.cause}" for rule in RULES]
    return "\n".join(sorted(lines)) + "\n"


def difference(before: str, after: str) -> str:
    """The lines that went and came, or nothing."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), "snapshot", "RULES", lineterm="", n=0)
    return "\n".join(lines)


def test_the_rules_are_those_of_the_snapshot() -> None:
    changed = difference(SNAPSHOT.read_text(encoding="utf-8"), current())
    if changed:
        pytest.fail(f"rules changed:\n{changed}\nIf it is meant: {COMMAND}, and say so in CHANGELOG.md.", pytrace=False)


def test_a_change_is_seen_and_an_order_is_not() -> None:
    line = current().splitlines()[0]
    said = difference(current(), current().replace(line, line.replace("error", "info"), 1))
    assert f"-{line}" in said
    assert f"+{line.replace('error', 'info')}" in said
    assert difference(current(), current()) == ""


if __name__ == "__main__":
    SNAPSHOT.write_text(current(), encoding="utf-8")
    print(f"written: {SNAPSHOT}")
