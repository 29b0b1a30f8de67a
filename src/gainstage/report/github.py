"""Annotations for GitHub Actions: one workflow command a finding."""

from __future__ import annotations

from gainstage.diagnosis.records import Diagnosis
from gainstage.report.wording import module_label
from gainstage.rules.base import Finding, Severity

_COMMANDS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "notice"}


def github_annotations(diagnosis: Diagnosis) -> str:
    """One ``::error title=...::...`` line a finding, in the report's order; empty without findings.

    References:
        https://docs.github.com/actions/reference/workflow-commands-for-github-actions
    """
    return "".join(_annotation(finding) + "\n" for finding in diagnosis.findings)


def _annotation(finding: Finding) -> str:
    title = f"{finding.code} {finding.name} at {module_label(finding.module)}"
    message = "\n".join(part for part in (finding.message, finding.why, finding.advice) if part)
    return f"::{_COMMANDS[finding.severity]} title={escape_property(title)}::{escape_data(message)}"


def escape_data(text: str) -> str:
    """As the runner unescapes a command's message; ``%`` first, or it would escape its own work."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def escape_property(text: str) -> str:
    """As the runner unescapes a command's property: the separators as well."""
    return escape_data(text).replace(":", "%3A").replace(",", "%2C")
