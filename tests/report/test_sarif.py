from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from gainstage.report.document import Report

# The part of the SARIF 2.1.0 schema that concerns what is written: required properties, enumerations, types.
MESSAGE = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string", "minLength": 1}}}
LEVEL = {"enum": ["none", "note", "warning", "error"]}
RULE = {
    "type": "object",
    "required": ["id"],
    "properties": {"id": {"type": "string"}, "name": {"type": "string"}, "shortDescription": MESSAGE, "help": MESSAGE},
}
LOGICAL = {
    "type": "object",
    "additionalProperties": False,
    "properties": {k: {"type": "string"} for k in ("name", "fullyQualifiedName", "decoratedName", "kind")},
}
RESULT = {
    "type": "object",
    "required": ["message"],
    "properties": {
        "ruleId": {"type": "string"},
        "ruleIndex": {"type": "integer", "minimum": -1},
        "level": LEVEL,
        "message": MESSAGE,
        "locations": {"items": {"properties": {"logicalLocations": {"type": "array", "items": LOGICAL}}}},
        "partialFingerprints": {"additionalProperties": {"type": "string"}},
    },
}
NOTIFICATION = {"type": "object", "required": ["message"], "properties": {"message": MESSAGE, "level": LEVEL}}
RUN = {
    "type": "object",
    "required": ["tool"],
    "properties": {
        "tool": {
            "required": ["driver"],
            "properties": {"driver": {"required": ["name"], "properties": {"rules": {"items": RULE}}}},
        },
        "results": {"type": "array", "items": RESULT},
        "invocations": {
            "items": {
                "required": ["executionSuccessful"],
                "properties": {"toolExecutionNotifications": {"items": NOTIFICATION}},
            }
        },
        "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
    },
}
SARIF = {
    "type": "object",
    "required": ["version", "runs"],
    "properties": {"version": {"const": "2.1.0"}, "runs": {"type": "array", "items": RUN}},
}


def run_of(report: Report, **options: Any) -> dict[str, Any]:
    log = json.loads(report.to_sarif(**options), parse_constant=pytest.fail)
    jsonschema.validate(log, SARIF)
    return log["runs"][0]


@pytest.mark.parametrize("name", ["report", "clean", "hostile"])
def test_logs_are_valid_and_rules_are_found_by_their_index(name: str, request: pytest.FixtureRequest) -> None:
    run = run_of(request.getfixturevalue(name))
    rules = run["tool"]["driver"]["rules"]
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in run["results"])
    assert len({rule["id"] for rule in rules}) == len(rules)


def test_levels_and_places(report: Report) -> None:
    run = run_of(report)
    assert [result["level"] for result in run["results"]] == ["error", "error", "warning", "warning"]
    places = [result["locations"][0]["logicalLocations"][0] for result in run["results"]]
    assert places[1] == {"name": "9", "fullyQualifiedName": "layers.9", "kind": "module"}
    assert places[3]["fullyQualifiedName"] == "PlainMLP"
    assert run["tool"]["driver"]["rules"][0]["name"] == "GainMismatch"


def test_what_was_not_assessed_is_said(report: Report) -> None:
    notes = run_of(report)["invocations"][0]["toolExecutionNotifications"]
    assert notes[0]["message"]["text"] == "NRM002 was not assessed: the model has no batch normalization"


def test_a_file_is_named_only_when_it_is_known(report: Report) -> None:
    assert "physicalLocation" not in run_of(report)["results"][0]["locations"][0]
    location = run_of(report, artifact="models/mlp.py")["results"][0]["locations"][0]
    assert location["physicalLocation"]["artifactLocation"]["uri"] == "models/mlp.py"
