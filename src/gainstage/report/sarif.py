"""A diagnosis as SARIF 2.1.0, the format that code scanners exchange."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from gainstage.diagnosis.records import Diagnosis
from gainstage.report.wording import module_label
from gainstage.rules.base import Finding, NotAssessed, Severity
from gainstage.trace.serialization import to_builtins
from gainstage.version import __version__

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "note"}


def sarif_json(diagnosis: Diagnosis, *, artifact: str | None = None) -> str:
    """The diagnosis as a SARIF log.

    Args:
        diagnosis: What was found.
        artifact: URI of the file that the model comes from, relative to the repository; scanners that show
            results beside the code need one, a module path alone is no place in a file.
    """
    return json.dumps(log(diagnosis, artifact=artifact), ensure_ascii=False, indent=2, allow_nan=False, default=str)


def log(diagnosis: Diagnosis, *, artifact: str | None = None) -> dict[str, Any]:
    """The SARIF log as dicts and lists; see `sarif_json`."""
    codes = list(dict.fromkeys(finding.code for finding in diagnosis.findings))
    firsts = [next(f for f in diagnosis.findings if f.code == code) for code in codes]
    run: dict[str, Any] = {
        "tool": {
            "driver": {
                "name": "gainstage",
                "version": __version__,
                "semanticVersion": __version__,
                "rules": [_rule(finding) for finding in firsts],
            }
        },
        "invocations": [
            {
                "executionSuccessful": True,
                "toolExecutionNotifications": [_notification(entry) for entry in diagnosis.not_assessed],
            }
        ],
        "results": [
            _result(finding, codes.index(finding.code), diagnosis.trace.name, artifact)
            for finding in diagnosis.findings
        ],
        "columnKind": "unicodeCodePoints",
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.code,
        "name": "".join(word.capitalize() for word in finding.name.split("-")),
        "shortDescription": {"text": finding.name},
        "fullDescription": {"text": finding.why or finding.name},
        "help": {"text": f"gainstage explain {finding.code}"},
        "properties": {"cause": finding.cause},
    }


def _result(finding: Finding, rule_index: int, model: str, artifact: str | None) -> dict[str, Any]:
    sentences = (finding.message, finding.why, finding.advice)
    return {
        "ruleId": finding.code,
        "ruleIndex": rule_index,
        "level": _LEVELS[finding.severity],
        "message": {"text": "\n".join(sentence for sentence in sentences if sentence)},
        "locations": [_location(finding.module, model, artifact)],
        # Without it a scanner counts the same finding anew whenever a figure in its message changes.
        "partialFingerprints": {"gainstageFinding/v1": _fingerprint(finding)},
        "properties": to_builtins(
            {
                "value": finding.value,
                "threshold": finding.threshold,
                "consequenceOf": finding.consequence_of,
                "layers": finding.layers,
                "claims": finding.claims,
                "evidence": finding.evidence,
            }
        ),
    }


def _location(module: str, model: str, artifact: str | None) -> dict[str, Any]:
    name = module.rpartition(".")[2] or model or module_label(module)
    logical = {"name": name, "fullyQualifiedName": module or model or module_label(module), "kind": "module"}
    location: dict[str, Any] = {"logicalLocations": [logical]}
    if artifact is not None:
        location["physicalLocation"] = {"artifactLocation": {"uri": artifact}, "region": {"startLine": 1}}
    return location


def _notification(entry: NotAssessed) -> dict[str, Any]:
    text = f"{entry.code} was not assessed: {entry.reason}"
    return {"level": "note", "message": {"text": text}, "descriptor": {"id": entry.code}}


def _fingerprint(finding: Finding) -> str:
    return hashlib.sha256(f"{finding.code}\0{finding.module}".encode()).hexdigest()[:32]
