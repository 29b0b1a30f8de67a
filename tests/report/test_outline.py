from __future__ import annotations

from dataclasses import replace

from gainstage.report.document import Report
from gainstage.report.outline import facts, findings_by_layer, named_layers, parameter_count, roots
from gainstage.rules.base import Finding


def finding(code: str, of: str | None = None, module: str = "") -> Finding:
    return Finding(code, "name", "warning", "init", module, "message", consequence_of=of)


def tree(*found: Finding) -> list[tuple[str, list[str]]]:
    return [(root.finding.code, [f.code for f in root.consequences]) for root in roots(found)]


def test_consequences_stand_under_the_root_also_through_another(report: Report) -> None:
    assert tree(*report.findings) == [("INI002", ["INI003", "GRD001"]), ("DAT001", [])]


def test_a_consequence_whose_cause_was_ignored_is_shown() -> None:
    assert tree(finding("B", of="A")) == [("B", [])]


def test_circles_lose_nothing() -> None:
    assert tree(finding("A", of="B"), finding("B", of="A"), finding("C", of="B")) == [("A", ["B", "C"])]
    assert tree(finding("A", of="A")) == [("A", [])]
    assert tree(finding("C", of="A"), finding("A", of="B"), finding("B", of="A")) == [("C", []), ("A", ["B"])]


def test_the_cause_in_the_same_module_is_nearer() -> None:
    found = (finding("A", module="x"), finding("A", module="y"), finding("B", of="A", module="y"))
    assert [len(root.consequences) for root in roots(found)] == [0, 1]


def test_facts_of_the_header(report: Report) -> None:
    told = dict(facts(report.trace))
    assert told["batch"] == "64 × 256 float32"
    assert told["loss"] == "cross_entropy 2.303 (chosen, none was given)"
    assert told["optimizer"] == "SGD, learning rate 0.1"
    assert (
        dict(facts(replace(report.trace, eval_modules=("a", "b"))))["mode"] == "training, 2 modules in evaluation mode"
    )
    assert dict(facts(replace(report.trace, training=False)))["mode"] == "evaluation"


def test_frozen_parameters_are_told(report: Report) -> None:
    first = replace(report.trace.parameters[0], requires_grad=False)
    assert parameter_count(replace(report.trace, parameters=(first,))) == "65,536 (65,536 frozen)"
    assert parameter_count(replace(report.trace, parameters=())) == ""


def test_layers_that_a_finding_names(report: Report) -> None:
    marks = findings_by_layer(report.trace, report.findings)
    assert [f.code for f in marks["layers.0"]] == ["INI002", "GRD001"]
    assert "head" not in marks
    assert named_layers(report.trace, finding("A")) == ()  # the root runs everything and names no layer
    assert named_layers(report.trace, finding("A", module="head")) == ("head",)
