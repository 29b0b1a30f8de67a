"""What programs read: JSON with its schema, SARIF, annotations."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
import torch
from torch import nn

import gainstage as gs
from gainstage.report import json_report
from gainstage.report.document import Report
from gainstage.report.github import escape_data, escape_property, github_annotations


@pytest.fixture
def real() -> Report:
    """A report with a NaN loss in it."""
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    model[0].weight.data[0, 0] = float("nan")
    return gs.check(model, (torch.randn(8, 4), torch.randint(2, (8,))))


def test_the_shipped_schema_is_the_one_of_the_records() -> None:
    assert json_report.shipped_schema() == json_report.schema_text()


@pytest.mark.parametrize("name", ["report", "clean", "hostile", "real"])
def test_reports_fit_the_schema(name: str, request: pytest.FixtureRequest) -> None:
    document = json.loads(request.getfixturevalue(name).to_json())
    jsonschema.Draft202012Validator(json_report.schema()).validate(document)


def test_the_schema_refuses_what_is_no_report(report: Report) -> None:
    document = json.loads(report.to_json())
    document["findings"][0]["severity"] = "fatal"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(json_report.schema()).validate(document)


def test_json_is_strict_and_says_what_it_is(real: Report) -> None:
    def refuse(text: str) -> Any:
        raise AssertionError(f"not JSON: {text}")

    document = json.loads(real.to_json(), parse_constant=refuse)
    assert document["schema_version"] == 1
    assert document["gainstage_version"] == gs.__version__
    assert document["trace"]["loss"] == "NaN"
    assert [finding["code"] for finding in document["findings"]] == ["NUM001"]


def test_sarif_has_what_its_schema_requires(report: Report) -> None:
    log = json.loads(report.to_sarif(artifact="train.py"))
    run = log["runs"][0]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]

    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-schema-2.1.0.json")
    assert run["tool"]["driver"]["name"] == "gainstage"
    assert len(run["results"]) == len(report.findings)
    for result, finding in zip(run["results"], report.findings, strict=True):
        assert rules[result["ruleIndex"]] == result["ruleId"] == finding.code
        assert result["level"] == {"error": "error", "warning": "warning", "info": "note"}[finding.severity]
        assert finding.message in result["message"]["text"]
        assert result["locations"][0]["logicalLocations"]


def test_annotations_escape_what_would_end_them(report: Report) -> None:
    lines = github_annotations(report).splitlines()
    assert len(lines) == len(report.findings)
    assert lines[0].startswith(("::error title=", "::warning title="))
    assert escape_data("50 %\nnext\r") == "50 %25%0Anext%0D"
    assert escape_property("a:b,c%") == "a%3Ab%2Cc%25"
