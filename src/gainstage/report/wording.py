"""Figures, counts and names as words: the one place that decides how a number or a name looks."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable

from gainstage.rules.base import SEVERITIES, Finding, Severity

NOTHING = "–"
ROOT = "(root)"
# "info" is the record's word; a reader is told "note", as SARIF and compilers say.
SEVERITY_WORDS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "note"}
_INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp")


def printable(text: str) -> str:
    """``text`` on one line, with control and invisible characters spelled out.

    A name from the model may hold an escape sequence or a right-to-left override; neither may reach a
    terminal or a page.
    """
    return "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    if character in "\n\r\t":
        return " "
    if unicodedata.category(character) in _INVISIBLE:
        return character.encode("unicode_escape").decode("ascii")
    return character


def figure(value: float | None, digits: int = 3) -> str:
    """Significant digits, three by default: ``0.0312``, ``1,230``, ``4.1e-9``; ``–`` for what does not apply."""
    if value is None:
        return NOTHING
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == 0:
        return "0"
    # Two digits of a hundred would be 1e+02.
    if 1e-3 <= abs(value) < min(999.5, 10**digits - 0.5):
        return f"{value:.{digits}g}"
    if abs(value) < 999_999.5 and abs(value) >= 1:
        return f"{value:,.0f}"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def any_figure(value: object) -> str:
    """A value of an evidence table or of a layer's row: numbers as figures, series joined, anything else as it is."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return figure(value)
    if isinstance(value, (list, tuple)):
        items: list[object] = list(value)
        shown = ", ".join(any_figure(item) for item in items[:12])
        return shown + (f", … ({len(items)} in all)" if len(items) > 12 else "")
    if isinstance(value, dict):
        return ", ".join(f"{key}: {any_figure(item)}" for key, item in value.items())
    return str(value)


def counted(number: int, noun: str) -> str:
    """``1 layer``, ``1,200 layers``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def module_label(module: str) -> str:
    """The dotted path, or a word for the root."""
    return module or ROOT


def verdict(findings: Iterable[Finding]) -> str:
    """``2 errors, 1 warning``; ``No problem found`` where nothing stands in the way of training."""
    found = tuple(findings)
    if any(finding.severity != "info" for finding in found):
        return tally(found)
    return "No problem found" + (f" ({tally(found)})" if found else "")


def tally(findings: Iterable[Finding]) -> str:
    """``1 error, 2 notes``, gravest first; "" for none."""
    severities = [finding.severity for finding in findings]
    counts = [(severities.count(severity), SEVERITY_WORDS[severity]) for severity in SEVERITIES]
    return ", ".join(counted(number, word) for number, word in counts if number)


def dimensions(shape: Iterable[int]) -> str:
    """``64 × 3 × 32 × 32``; ``scalar`` for no dimension."""
    return " × ".join(str(size) for size in shape) or "scalar"
