import math

import pytest

from gainstage.lab.catalogue.normalization.inits_converge import CLAIM

QUICK = CLAIM.designs["quick"]


def planted(difference):
    return [
        {
            "seed": seed, "norm": norm, "spread": 0.01, "accuracy": 0.95, "train_loss": 0.03, "steps": 70, "missed": 0,
            "disagreement": extra if extra is None else 0.06 + extra + 0.001 * (seed % 3),
        }
        for norm, extra in (("batch", 0.0), ("none", difference))
        for seed in range(QUICK.seeds)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("difference", "outcome"),
    [
        (0.03, "supported"),
        (0.005, "refuted"),
        (-0.03, "refuted"),
        (math.nan, "inconclusive"),
        (None, "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(difference, outcome):
    assert CLAIM.judge(planted(difference), QUICK).outcome == outcome


def test_an_interval_across_the_limit_is_inconclusive():
    rows = [
        {**row, "disagreement": row["disagreement"] + 0.02 * (row["seed"] % 2) - 0.01} if row["norm"] == "none" else row
        for row in planted(0.01)
    ]
    assert CLAIM.judge(rows, QUICK).outcome == "inconclusive"


@pytest.mark.parametrize(("difference", "outcome"), [(0.001, "supported"), (0.05, "refuted"), (-0.05, "refuted")])
def test_the_control_must_not_differ(difference, outcome):
    rows = [{**row, "norm": {"batch": "affine"}.get(row["norm"], row["norm"])} for row in planted(difference)]
    assert CLAIM.control.judge(rows, QUICK).outcome == outcome


def test_networks_that_never_reach_the_loss_are_told():
    rows = [{**row, "missed": 3, "steps": None} if row["seed"] == 1 else row for row in planted(0.03)]
    assert "6 networks never reached" in CLAIM.judge(rows, QUICK).why
