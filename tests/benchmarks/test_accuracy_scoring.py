from __future__ import annotations

import re

import pytest
from accuracy.cases import FAULTS, Case
from accuracy.checks import Alarm, Checked
from accuracy.fault import LEVELS
from accuracy.labels import Label
from accuracy.scoring import Outcome, Rate, first_cause, outcomes, precision, rule_figures

TWIN = Case("development", "mlp-relu")
GAIN = Case("development", "mlp-relu", "gain-up", "mild")


def outcome(state: str, *codes: str, case: Case = GAIN) -> Outcome:
    return Outcome(case, 0, state, tuple(Alarm(code, code) for code in codes))


@pytest.mark.parametrize(
    ("rate", "low", "high"),
    # Newcombe 1998, table I, method 3: the score interval of Wilson.
    [
        (Rate(81, 263), 0.2553, 0.3662),
        (Rate(15, 148), 0.0624, 0.1605),
        (Rate(0, 20), 0.0, 0.1611),
        (Rate(1, 29), 0.0061, 0.1718),
    ],
)
def test_wilson_interval(rate: Rate, low: float, high: float) -> None:
    assert rate.interval == pytest.approx((low, high), abs=6e-5)


def test_state_follows_the_label_and_a_refusal_comes_before_it() -> None:
    labels: dict[Case, Label] = {GAIN: "worse"}
    said = [Checked(TWIN, 0), Checked(GAIN, 0), Checked(GAIN, 1, raised="no")]
    assert [o.state for o in outcomes(labels, said, lambda row: row.trial)] == ["twin", "fault", "refused"]


def test_precision_counts_twins_and_harmless_mutants_and_leaves_unclear_ones_out() -> None:
    found = [
        outcome("fault", "INI002"), outcome("fault"), outcome("harmless", "INI002"), outcome("unclear", "INI002"),
        outcome("twin", "OPT001", case=TWIN), outcome("twin", case=TWIN),
    ]  # fmt: skip
    assert precision(found) == Rate(1, 3)


def test_first_cause_looks_at_the_first_alarm_alone() -> None:
    found = [outcome("fault", "INI004", "OPT001"), outcome("fault", "OPT001", "INI004"), outcome("fault")]
    assert first_cause(found) == Rate(1, 2)


def test_figures_of_a_rule() -> None:
    found = [outcome("fault", "INI004"), outcome("fault", "INI002"), outcome("fault"), outcome("harmless", "INI002")]
    figures = rule_figures("INI002", found)
    assert (figures.right, figures.to_the_point) == (Rate(1, 2), Rate(1, 2))
    assert (figures.found, figures.own) == (Rate(2, 3), Rate(1, 3))


def test_a_consequence_of_a_finding_that_names_the_cause_is_to_the_point() -> None:
    explained = Outcome(GAIN, 0, "fault", (Alarm("INI002", "INI002"), Alarm("OPT001", "INI002")))
    assert rule_figures("OPT001", [explained]).to_the_point == Rate(1, 1)


def test_every_fault_names_codes_and_has_levels_in_order() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    for fault in FAULTS:
        assert all(re.fullmatch(r"[A-Z]{3}0\d\d", code) for code in fault.names)
        assert list(fault.levels) == [level for level in LEVELS if level in fault.levels] != []
