"""Cause before consequence: which finding explains which, and the order in which they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gainstage.rules.base import SEVERITIES, Finding, Rule

# What is said where nothing else is: whatever else is wrong explains it, but for what it explains itself.
RESIDUAL = frozenset(("DAT010",))


def ranked(findings: Sequence[Finding], rules: Mapping[str, Rule]) -> tuple[Finding, ...]:
    """Findings with `Finding.consequence_of` set: root causes first, each followed by its consequences.

    A finding is a consequence if a rule that fired names its code among those that it explains; one that is said
    where nothing else is, of any other. Of several that do, one that is no consequence itself is the cause. Roots
    stand by the gravest severity among themselves and their consequences, then in the order given.

    Args:
        findings: In the order of the rules.
        rules: By code.
    """
    causes = {finding.code: _causes(finding, findings, rules) for finding in findings}
    roots = {code for code, explained_by in causes.items() if not explained_by}
    marked = [replace(finding, consequence_of=_root(finding.code, causes, roots)) for finding in findings]
    gravest = {
        root: min(SEVERITIES.index(f.severity) for f in marked if root in (f.code, f.consequence_of)) for root in roots
    }
    order = {finding.code: position for position, finding in reversed(list(enumerate(findings)))}

    def key(finding: Finding) -> tuple[int, int, bool, int]:
        root = finding.consequence_of or finding.code
        severity = SEVERITIES.index(finding.severity)
        return gravest[root], order[root], finding.consequence_of is not None, severity

    return tuple(sorted(marked, key=key))


def _causes(finding: Finding, findings: Sequence[Finding], rules: Mapping[str, Rule]) -> list[str]:
    codes = dict.fromkeys(other.code for other in findings if other.code != finding.code)
    # What is merely worth knowing explains nothing that is wrong.
    grave = {other.code for other in findings if other.severity != "info"}
    named = [code for code in codes if code in grave and code in rules and finding.code in rules[code].explains]
    if finding.code not in RESIDUAL or finding.code not in rules:
        return named
    return [code for code in codes if code in grave and code not in rules[finding.code].explains]


def _root(code: str, causes: Mapping[str, list[str]], roots: set[str]) -> str | None:
    """The root cause of a code, following causes upwards; None for a root."""
    seen = {code}
    queue = list(causes[code])
    while queue:
        cause = queue.pop(0)
        if cause in roots:
            return cause
        if cause not in seen:
            seen.add(cause)
            queue.extend(causes[cause])
    return None
