from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
import torch
from torch import nn

import gainstage as gs
from gainstage.report.document import Report

# The part of the SARIF 2.1.0 schema that concerns what is written: every object of it is closed there too, so that
# a misspelt property is found. No package carries the whole schema, and tests need no network.


def closed(required: str = "", **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required.split(),
        "properties": {**properties, "properties": BAG},
    }


TEXT = {"type": "string"}
BAG = {"type": "object", "properties": {"tags": {"type": "array", "items": TEXT, "uniqueItems": True}}}
SAID = {"type": "string", "minLength": 1}
MESSAGE = closed("text", text=SAID, markdown=TEXT, id=TEXT, arguments={"type": "array", "items": TEXT})
STRING = closed("text", text=SAID, markdown=TEXT)  # a multiformatMessageString
LEVEL = {"enum": ["none", "note", "warning", "error"]}
INDEX = {"type": "integer", "minimum": -1}
URI = {"type": "string", "pattern": r"^[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]*$"}  # RFC 3986, a reference
DESCRIPTOR = closed(
    "id", id=TEXT, guid=TEXT, name=TEXT, shortDescription=STRING, fullDescription=STRING, help=STRING, helpUri=URI,
    defaultConfiguration=closed(enabled={"type": "boolean"}, level=LEVEL, rank={"type": "number"}),
)  # fmt: skip
LOGICAL = closed(name=TEXT, index=INDEX, fullyQualifiedName=TEXT, decoratedName=TEXT, parentIndex=INDEX, kind=TEXT)
FROM_ONE = {"type": "integer", "minimum": 1}
PHYSICAL = closed(
    "artifactLocation",
    artifactLocation=closed(uri=URI, uriBaseId=TEXT, index=INDEX),
    region=closed(startLine=FROM_ONE, startColumn=FROM_ONE, endLine=FROM_ONE, endColumn=FROM_ONE),
)
LOCATION = closed(id=INDEX, physicalLocation=PHYSICAL, logicalLocations={"type": "array", "items": LOGICAL})
RESULT = closed(
    "message", ruleId=TEXT, ruleIndex=INDEX, level=LEVEL, message=MESSAGE,
    kind={"enum": ["notApplicable", "pass", "fail", "review", "open", "informational"]},
    locations={"type": "array", "items": LOCATION},
    partialFingerprints={"type": "object", "additionalProperties": TEXT},
)  # fmt: skip
NOTIFICATION = closed("message", message=MESSAGE, level=LEVEL, descriptor=closed("id", id=TEXT, index=INDEX, guid=TEXT))
INVOCATION = closed(
    "executionSuccessful",
    executionSuccessful={"type": "boolean"},
    toolExecutionNotifications={"type": "array", "items": NOTIFICATION},
)
SEMANTIC = {"type": "string", "pattern": r"^\d+\.\d+\.\d+"}
DRIVER = closed(
    "name", name=SAID, version=SAID, semanticVersion=SEMANTIC, informationUri=URI,
    rules={"type": "array", "items": DESCRIPTOR, "uniqueItems": True},
)  # fmt: skip
RUN = closed(
    "tool",
    tool=closed("driver", driver=DRIVER),
    results={"type": "array", "items": RESULT},
    invocations={"type": "array", "items": INVOCATION},
    columnKind={"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
)
SARIF = closed("version runs", version={"const": "2.1.0"}, runs={"type": "array", "items": RUN})
SARIF["properties"]["$schema"] = URI


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


def test_a_real_report_is_valid_too() -> None:
    model = nn.Sequential(*[m for _ in range(20) for m in (nn.Linear(8, 8), nn.ReLU())], nn.Linear(8, 3), nn.Softmax(1))
    report = gs.check(model, (torch.randn(32, 8), torch.randint(3, (32,))), nn.CrossEntropyLoss())
    run = run_of(report, artifact="models/mlp.py")
    assert {result["ruleId"] for result in run["results"]} == {finding.code for finding in report.findings}


@pytest.mark.parametrize(
    "break_it",
    [
        lambda log: log["runs"][0].pop("tool"),
        lambda log: log["runs"][0]["results"][0].update(severity="error"),
        lambda log: log["runs"][0]["results"][0]["message"].update(text=""),
        lambda log: log["runs"][0]["results"][0]["locations"][0].update(module="3"),
        lambda log: log.update(version="2.0.0"),
    ],
)
def test_what_breaks_the_format_is_found(break_it: Callable[[Any], Any], report: Report) -> None:
    log = json.loads(report.to_sarif())
    break_it(log)
    with pytest.raises(jsonschema.ValidationError, match=r"required|expected|non-empty|too short"):
        jsonschema.validate(log, SARIF)
