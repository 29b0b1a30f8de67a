import math

import pytest

from gainstage.lab.catalogue.depth import length_direction

CLAIM = length_direction.CLAIM
QUICK = CLAIM.designs["quick"]


def planted(ratio=1.0, excess=-0.1):
    row = {"kind": "run", "run": "apart", "slope_ratio": ratio, "slope": -0.1, "excess": excess}
    return [{**row, "seed": seed} for seed in range(QUICK.seeds)]


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, "supported"),
        ({"ratio": 0.585}, "refuted"),
        ({"excess": 0.1}, "refuted"),
        ({"ratio": None}, "inconclusive"),
        ({"excess": math.nan}, "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(changes, outcome):
    assert CLAIM.judge(planted(**changes), QUICK).outcome == outcome


def test_one_problem_that_breaks_the_bound_refutes():
    rows = planted()
    rows[3]["excess"] = 0.01
    assert CLAIM.judge(rows, QUICK).outcome == "refuted"


def test_ratios_on_both_sides_are_inconclusive():
    rows = planted()
    for row in rows:
        row["slope_ratio"] = 0.5 + 0.6 * (row["seed"] % 2)
    assert CLAIM.judge(rows, QUICK).outcome == "inconclusive"


@pytest.mark.parametrize(("ratio", "outcome"), [(0.585, "supported"), (1.0, "refuted"), (None, "inconclusive")])
def test_the_control_must_be_slower(ratio, outcome):
    rows = [{"run": "decaying", "slope_ratio": ratio, "seed": seed} for seed in range(QUICK.seeds)]
    assert CLAIM.control.judge(rows, QUICK).outcome == outcome
