"""A diagnosis as JSON, and the JSON Schema of that, generated from the same records.

python -m gainstage.report.json_report > src/gainstage/report/schemas/report.schema.json
"""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

import msgspec

from gainstage.diagnosis.records import Diagnosis
from gainstage.remedies.fix import Fix
from gainstage.rules.base import Cause, Finding, NotAssessed, Severity
from gainstage.trace.records import Trace
from gainstage.trace.serialization import to_builtins
from gainstage.version import __version__

SCHEMA_VERSION = 1
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NUMBER: dict[str, Any] = {
    "description": "A number; one that JSON cannot write is spelled out.",
    "anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}],
}


@dataclass(frozen=True)
class FixDocument:
    """What would mend a finding."""

    code: str
    module: str
    summary: str


@dataclass(frozen=True)
class FindingDocument:
    """One thing that is wrong, with the evidence; every key is always there."""

    code: str
    name: str
    severity: Severity
    cause: Cause
    module: str
    message: str
    why: str
    advice: str
    value: float | None
    threshold: float | None
    evidence: dict[str, Any]
    fix: FixDocument | None
    claims: tuple[str, ...]
    layers: tuple[str, ...]
    consequence_of: str | None


@dataclass(frozen=True)
class ReportDocument:
    """A report of gainstage."""

    schema_version: int
    gainstage_version: str
    ok: bool
    findings: tuple[FindingDocument, ...]
    not_assessed: tuple[NotAssessed, ...]
    trace: Trace


def report_json(diagnosis: Diagnosis) -> str:
    """The report as indented JSON; a number that is not finite is written as a string."""
    return json.dumps(document(diagnosis), ensure_ascii=False, indent=2, allow_nan=False, default=str)


def document(diagnosis: Diagnosis) -> dict[str, Any]:
    """The report as dicts, lists, strings and numbers, as `schema` describes it."""
    return {
        "schema_version": SCHEMA_VERSION,
        "gainstage_version": __version__,
        "ok": diagnosis.ok,
        "findings": [_finding(finding) for finding in diagnosis.findings],
        "not_assessed": to_builtins(diagnosis.not_assessed),
        "trace": to_builtins(diagnosis.trace),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    """All keys, also those at None: whoever reads one finding has seen the shape of all."""
    fields = {key: getattr(finding, key) for key in FindingDocument.__annotations__}
    return {key: to_builtins(_fix(value) if key == "fix" else value) for key, value in fields.items()}


def _fix(fix: Fix | None) -> FixDocument | None:
    return None if fix is None else FixDocument(fix.code, fix.module, fix.summary)


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of `document`, generated from the records."""
    generated = _tidied(msgspec.json.schema(ReportDocument))
    definitions: dict[str, Any] = {**generated["$defs"], "Number": _NUMBER}
    definitions["ReportDocument"]["properties"]["schema_version"] = {"const": SCHEMA_VERSION}
    return {"$schema": _DIALECT, "title": "gainstage report", "$ref": generated["$ref"], "$defs": definitions}


def _tidied(node: Any) -> Any:
    """Floats may be spelled out, and of a docstring only the first line describes a record."""
    if isinstance(node, list):
        return [_tidied(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("type") == "number":
        return {"$ref": "#/$defs/Number"}
    tidied = {key: _tidied(value) for key, value in node.items() if key != "default"}
    if isinstance(tidied.get("description"), str):
        tidied["description"] = inspect.cleandoc(tidied["description"]).partition("\n\n")[0]
    return tidied


def schema_text() -> str:
    """`schema` as it is shipped."""
    return json.dumps(schema(), ensure_ascii=False, indent=2) + "\n"


def shipped_schema() -> str:
    """The schema file of this installation."""
    return (resources.files("gainstage.report") / "schemas" / "report.schema.json").read_text(encoding="utf-8")


if __name__ == "__main__":
    print(schema_text(), end="")
