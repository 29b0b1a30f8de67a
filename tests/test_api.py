"""The public contract, as a user meets it."""

from __future__ import annotations

import json

import jsonschema
import pytest
import torch
from models import vectors
from torch import nn

import gainstage as gs
from gainstage.report.json_report import shipped_schema


def broken() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3), nn.Softmax(1))


def test_everything_public_is_there() -> None:
    for name in gs.__all__:
        assert getattr(gs, name) is not None
    assert set(dir(gs)) >= {"check", "record", "initialize", "verify", "lab", "theory", "schemes", "Subject"}
    with pytest.raises(AttributeError, match="no attribute 'chekc'"):
        gs.chekc  # noqa: B018


def test_a_report_has_what_the_contract_says(tmp_path) -> None:
    report = gs.check(broken(), vectors(), nn.CrossEntropyLoss())
    finding = report.findings[0]

    assert not report.ok
    assert (finding.code, finding.name, finding.severity, finding.cause, finding.module) == (
        "ACT004", "output-loss-mismatch", "error", "loss", "3",
    )  # fmt: skip
    assert isinstance(finding.evidence, dict)
    assert isinstance(report.findings, tuple)
    assert {entry.code for entry in report.not_assessed} >= {"OPT004"}
    assert report.trace.layers
    assert "ACT004" in str(report)
    assert "ACT004" in report.to_json()
    assert "ACT004" in report.to_sarif()
    assert "ACT004" in report._repr_html_()
    report.to_html(tmp_path / "report.html")
    assert "ACT004" in (tmp_path / "report.html").read_text()
    fixed = report.fixes()[0].apply(gs.Subject(broken(), vectors(), nn.CrossEntropyLoss()))
    assert gs.check(fixed).ok


def test_assert_trainable_raises_with_the_findings() -> None:
    with pytest.raises(gs.NotTrainable, match="ACT004"):
        gs.assert_trainable(broken(), vectors(), nn.CrossEntropyLoss())
    gs.assert_trainable(broken(), vectors(), nn.CrossEntropyLoss(), ignore="ACT")


def test_findings_survive_renaming_and_wrapping() -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.some_other_name = nn.Sequential(
                *[m for _ in range(20) for m in (nn.Linear(8, 8), nn.ReLU())], nn.Linear(8, 3)
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.some_other_name(x)

    wrapped, batch = Wrapped(), vectors()
    inner = gs.check(wrapped.some_other_name, batch).findings
    outer = gs.check(wrapped, batch).findings
    assert inner
    assert [(f.code, f.severity, f.value) for f in inner] == [(f.code, f.severity, f.value) for f in outer]
    assert [f"some_other_name.{f.module}" for f in inner] == [f.module for f in outer]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": -1}, "steps must be 0 or more"),
        ({"steps": 3}, "needs an optimizer"),
        ({"select": "XYZ"}, "code, prefix or name of a rule"),
        ({"ignore": ["INI002", "NOPE"]}, "'NOPE'"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(gs.GainstageError, match=message):
        gs.check(broken(), vectors(), **options)


def test_select_and_ignore_take_codes_prefixes_and_names() -> None:
    for select in ("ACT004", "ACT", "output-loss-mismatch", "INI,ACT", ["GRD", "ACT004"]):
        assert [f.code for f in gs.check(broken(), vectors(), select=select).findings] == ["ACT004"]
    assert gs.check(broken(), vectors(), select="ACT", ignore="ACT004").ok


def test_a_real_report_fits_the_shipped_schema_also_with_a_loss_that_is_not_a_number() -> None:
    model = nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3))
    validator = jsonschema.Draft202012Validator(json.loads(shipped_schema()))
    validator.validate(json.loads(gs.check(model, vectors()).to_json()))
    model[0].weight.data[0, 0] = float("nan")
    document = json.loads(gs.check(model, vectors()).to_json())
    validator.validate(document)
    assert document["trace"]["loss"] == "NaN"
    assert document["findings"][0]["code"] == "NUM001"
