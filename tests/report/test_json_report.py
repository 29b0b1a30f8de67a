from __future__ import annotations

import dataclasses
import json

import jsonschema
import pytest
import torch
from torch import nn

import gainstage as gs
from gainstage.report.document import Report
from gainstage.report.json_report import FindingDocument, schema, schema_text, shipped_schema
from gainstage.rules.base import Finding
from gainstage.trace.records import Trace


@pytest.fixture
def real() -> Report:
    """A report of `gainstage.check` with a NaN loss in it."""
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
    return gs.check(model, (torch.ones(8, 4), torch.tensor([0, 1] * 4)))


def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads(shipped_schema()))


def test_the_shipped_schema_is_the_generated_one() -> None:
    remedy = "python -m gainstage.report.json_report > src/gainstage/report/schemas/report.schema.json"
    assert shipped_schema() == schema_text(), f"regenerate it: {remedy}"
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("name", ["report", "clean", "hostile", "real"])
def test_reports_are_valid(name: str, request: pytest.FixtureRequest) -> None:
    report: Report = request.getfixturevalue(name)
    validator().validate(json.loads(report.to_json(), parse_constant=pytest.fail))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.pop("schema_version"), lambda d: d.update(schema_version=2), lambda d: d.update(ok="yes"),
        lambda d: d["findings"][0].update(severity="fatal"), lambda d: d["findings"][0].pop("fix"),
        lambda d: d["trace"]["layers"][0].update(rms="big"), lambda d: d["findings"][0].update(cause="bad luck"),
    ],
)  # fmt: skip
def test_the_schema_refuses_what_is_no_report(report: Report, spoil: object) -> None:
    document = json.loads(report.to_json())
    assert callable(spoil)
    spoil(document)
    with pytest.raises(jsonschema.ValidationError, match=r"."):
        validator().validate(document)


def test_the_document_holds_every_field_of_a_finding() -> None:
    assert set(FindingDocument.__annotations__) == {field.name for field in dataclasses.fields(Finding)}


def test_what_is_in_it(report: Report) -> None:
    document = json.loads(report.to_json())
    assert document["ok"] is False
    assert document["findings"][0]["fix"] == {
        "code": "INI002",
        "module": "layers.0",
        "summary": "Draw the weights of 30 linear layers with the He variance 2 / fan_in.",
    }
    assert document["findings"][1]["consequence_of"] == "INI002"
    assert document["findings"][3]["fix"] is None
    assert Trace.from_json(json.dumps(document["trace"])) == report.trace


def test_numbers_that_json_cannot_write_are_spelled(hostile: Report) -> None:
    document = json.loads(hostile.to_json())
    assert document["findings"][0]["value"] == "NaN"
    assert document["findings"][0]["threshold"] == "Infinity"
    assert document["trace"]["loss"] == "NaN"
