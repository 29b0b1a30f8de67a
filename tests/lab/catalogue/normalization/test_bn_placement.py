import math

import pytest

from gainstage.lab.catalogue.normalization.bn_placement import CLAIM

QUICK = CLAIM.designs["quick"]


def rows(gap, key="best_accuracy"):
    """Accuracies that are larger by so much with the norm after the activation, ± 0.2 points."""
    return [
        {"seed": seed, "placement": place, key: 0.9 + more * (gap + 0.002 * (-1) ** seed), "log_largest_lr": 0.0}
        for seed in range(QUICK.seeds)
        for place, more in (("before", 0), ("after", 1))
    ]


@pytest.mark.parametrize(
    ("gap", "outcome"),
    [
        (0.05, "supported"),
        (-0.05, "supported"),  # no direction was claimed
        (0.0, "refuted"),
        (0.005, "refuted"),
        (0.01, "inconclusive"),
        (math.nan, "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(gap, outcome):
    assert CLAIM.judge(rows(gap), QUICK).outcome == outcome


def test_no_direction_was_predicted():
    assert CLAIM.predicted is None


def test_the_largest_rate_is_told():
    assert "after minus before = 0," in CLAIM.judge(rows(0.0), QUICK).why


@pytest.mark.parametrize(("gap", "outcome"), [(0.0, "supported"), (0.05, "refuted"), (0.01, "inconclusive")])
def test_the_control_must_show_no_gap(gap, outcome):
    assert CLAIM.control.judge(rows(gap, key="test_accuracy"), QUICK).outcome == outcome
