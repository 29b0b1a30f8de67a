import math

import pytest

from gainstage.lab.catalogue.normalization.lr_is_the_cause import CLAIM

QUICK = CLAIM.designs["quick"]


def rows(low, high, seeds=QUICK.seeds):
    """Runs whose test accuracy with the norm is larger by ``low`` and ``high`` at the two rates, ± half a point."""
    found = []
    for seed in range(seeds):
        for lr, gap in ((QUICK.low, low), (QUICK.high, high)):
            with_norm = 0.5 + gap + 0.005 * (-1) ** seed
            found.append({"seed": seed, "norm": "none", "lr": lr, "test_accuracy": 0.5})
            found.append({"seed": seed, "norm": "batch", "lr": lr, "test_accuracy": with_norm})
    return found


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [
        (0.0, 0.4, "supported"),
        (0.01, 0.4, "supported"),
        (0.1, 0.4, "refuted"),  # a gap at the low rate too
        (-0.1, 0.4, "refuted"),
        (0.0, 0.0, "refuted"),  # no gap anywhere
        (0.02, 0.4, "inconclusive"),
        (0.0, 0.02, "inconclusive"),
        (0.0, math.nan, "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(low, high, outcome):
    assert CLAIM.judge(rows(low, high), QUICK).outcome == outcome


def test_the_gap_at_the_best_rates_is_told_but_not_judged():
    summaries = [
        {"seed": seed, "norm": norm, "best_accuracy": value}
        for seed in range(QUICK.seeds)
        for norm, value in (("none", 0.9), ("batch", 0.8))
    ]
    found = CLAIM.judge([*rows(0.0, 0.4), *summaries], QUICK)
    assert found.outcome == "supported"
    assert "at the best rate of each = -0.1" in found.why


@pytest.mark.parametrize(("low", "outcome"), [(0.8, "supported"), (0.0, "refuted"), (0.02, "inconclusive")])
def test_the_control_must_find_a_gap(low, outcome):
    assert CLAIM.control.judge(rows(low, 0.0), QUICK).outcome == outcome
