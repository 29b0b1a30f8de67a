from __future__ import annotations

import json

import pytest

import gainstage.report.rules_json
from gainstage.cli import knowledge
from gainstage.report.rules_json import rules_json
from gainstage.rules import RULES
from gainstage.rules.accuracy import Accuracy, measured

COUNTS = Accuracy(alarms=36, right_alarms=35, faults=16, found_faults=14)


def test_shipped_figures_are_of_rules_and_add_up() -> None:
    assert set(measured()) <= {rule.code for rule in RULES}
    for counts in measured().values():
        assert 0 <= counts.right_alarms <= counts.alarms
        assert 0 <= counts.found_faults <= counts.faults


def test_shares_are_none_without_counts() -> None:
    assert (Accuracy().precision, Accuracy().recall) == (None, None)
    assert (COUNTS.precision, COUNTS.recall) == (35 / 36, 14 / 16)


def test_words_for_the_list() -> None:
    assert knowledge.accuracy_words(COUNTS) == "precision 0.97 (35 of 36), recall 0.88 (14 of 16)"
    assert knowledge.accuracy_words(None) == "precision -, recall -"


def test_json_has_the_figures_of_measured_rules_and_null_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gainstage.report.rules_json, "measured", lambda: {"INI002": COUNTS})
    entries = {entry["code"]: entry["accuracy"] for entry in json.loads(rules_json(RULES))["rules"]}
    assert entries["INI001"] is None
    assert entries["INI002"]["alarms"] == 36
    assert entries["INI002"]["recall"] == 14 / 16
