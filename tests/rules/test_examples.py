"""Every rule fires on its own bad example and leaves its good one in peace; so do all others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist

import gainstage as gs
from gainstage.diagnosis.check import DEFECT
from gainstage.rules import RULES, Rule, rule_of
from gainstage.rules.base import SECTIONS


def report(source: str) -> gs.Report:
    torch.manual_seed(0)
    names: dict[str, Any] = {}
    try:
        exec(source, names)
        found = gs.check(names["subject"], **names.get("check_options", {}))
    finally:
        if dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()
    assert [entry for entry in found.not_assessed if entry.reason.startswith(DEFECT)] == []
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_fires_on_its_bad_example_as_the_root_cause_or_under_one(rule: Rule) -> None:
    found = {finding.code: finding for finding in report(rule.bad.source).findings}

    assert rule.code in found
    finding = found[rule.code]
    assert finding.severity in rule.severities
    assert finding.message
    assert finding.why
    assert finding.advice
    if finding.consequence_of is not None:
        assert rule.code in rule_of(finding.consequence_of).explains


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_no_rule_warns_on_a_good_example(rule: Rule) -> None:
    result = report(rule.good.source)

    assert [f.code for f in result.findings if f.severity != "info" or f.code == rule.code] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_has_a_whole_page(rule: Rule) -> None:
    assert rule.summary.endswith(".")
    assert all(f"{section}:" in rule.page for section in SECTIONS)
    assert all(threshold.source and threshold.unit for threshold in rule.thresholds)
    assert set(rule.claims) <= {claim.id for claim in gs.lab.claims()}
    assert set(rule.explains) <= {other.code for other in RULES}


def test_codes_are_unique_and_never_change() -> None:
    assert [(rule.code, rule.name) for rule in RULES] == [
        ("INI001", "symmetric-init"),
        ("INI002", "gain-mismatch"),
        ("INI003", "signal-vanishes"),
        ("INI004", "signal-explodes"),
        ("INI005", "bias-init"),
        ("INI006", "initial-loss"),
        ("INI007", "cloned-layers"),
        ("INI008", "packed-fans"),
        ("INI009", "rank-collapse"),
        ("INI010", "residual-growth"),
        ("ACT001", "dead-units"),
        ("ACT002", "saturated-units"),
        ("ACT003", "missing-nonlinearity"),
        ("ACT004", "output-loss-mismatch"),
        ("ACT005", "heavy-dropout"),
        ("ACT006", "hidden-softmax"),
        ("ACT007", "flat-derivatives"),
        ("GRD001", "gradient-vanishes"),
        ("GRD002", "gradient-explodes"),
        ("GRD003", "no-gradient"),
        ("GRD004", "one-class-gradients"),
        ("GRD005", "attention-without-skip"),
        ("GRD006", "gradient-fades-over-time"),
        ("NRM001", "norm-frozen-in-training"),
        ("NRM002", "train-eval-gap"),
        ("NRM003", "tiny-batch-norm"),
        ("NRM004", "bias-before-norm"),
        ("NRM005", "decay-on-norm"),
        ("NRM006", "norm-hides-scale"),
        ("NRM007", "dead-channel"),
        ("NRM008", "dropout-before-norm"),
        ("NRM009", "shared-norm"),
        ("NRM010", "norm-momentum"),
        ("NRM011", "local-batch-norm"),
        ("NRM012", "deep-norm-no-skip"),
        ("NRM013", "degenerate-group"),
        ("NRM014", "batch-norm-on-sequence"),
        ("NRM015", "zero-gamma"),
        ("NRM016", "dropout-in-eval"),
        ("OPT001", "lr-too-high"),
        ("OPT002", "lr-too-low"),
        ("OPT003", "not-learning"),
        ("OPT004", "diverging"),
        ("OPT005", "oscillating"),
        ("OPT006", "missing-parameters"),
        ("OPT007", "weight-decay"),
        ("OPT008", "wrong-sign"),
        ("OPT009", "posterior-collapse"),
        ("NUM001", "first-non-finite"),
        ("NUM002", "overflow-headroom"),
        ("NUM003", "gradient-underflow"),
        ("NUM004", "rounded-updates"),
        ("DAT001", "input-scale"),
        ("DAT002", "bad-targets"),
        ("DAT003", "target-scale"),
        ("DAT004", "degenerate-input"),
        ("DAT005", "mixed-samples"),
        ("DAT006", "scrambled-axes"),
        ("DAT007", "ignored-input"),
        ("DAT008", "leaked-targets"),
        ("DAT009", "unrelated-targets"),
        ("DAT010", "unlearned-targets"),
    ]
