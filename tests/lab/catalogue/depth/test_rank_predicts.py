import math

import pytest

from gainstage.lab.catalogue.depth import rank_predicts
from gainstage.lab.catalogue.depth.rank_predicts import pearson, spearman

CLAIM = rank_predicts.CLAIM
QUICK = CLAIM.designs["quick"]


def planted(correlations):
    return [{"kind": "seed", "net": "none", "correlation": c, "seed": s} for s, c in enumerate(correlations)]


@pytest.mark.parametrize(
    ("correlation", "outcome"),
    [(0.9, "supported"), (-0.9, "refuted"), (None, "inconclusive"), (math.nan, "inconclusive")],
)
def test_the_judge_on_planted_rows(correlation, outcome):
    assert CLAIM.judge(planted([correlation] * QUICK.seeds), QUICK).outcome == outcome


def test_correlations_of_both_signs_are_inconclusive():
    assert CLAIM.judge(planted([1.0, -1.0] * (QUICK.seeds // 2)), QUICK).outcome == "inconclusive"


@pytest.mark.parametrize(("correlation", "outcome"), [(0.0, "supported"), (0.9, "refuted"), (None, "inconclusive")])
def test_the_control_asks_for_no_correlation(correlation, outcome):
    assert CLAIM.control.judge(planted([correlation] * QUICK.seeds), QUICK).outcome == outcome


def test_the_reason_tells_what_is_left_within_depths_and_with_batch_norm():
    rows = planted([0.9] * QUICK.seeds)
    for seed in range(QUICK.seeds):
        for depth in QUICK.depths:
            net = {"kind": "net", "depth": depth, "seed": seed, "rank": 1.0 + seed, "accuracy": 0.5 - 0.01 * seed}
            rows += [{**net, "net": "none"}, {**net, "net": "batch"}]
    why = CLAIM.judge(rows, QUICK).why
    assert "ln r and accuracy is -0.9" in why
    assert "batch norm r = 3.5 and accuracy 0.4" in why


def test_spearman_and_pearson():
    assert spearman([1, 2, 3], [10, 100, 1000]) == pytest.approx(1.0)
    # closed_form: 1 - 6·Σd²/(n(n² - 1)) = 1 - 6·2/24
    assert spearman([1, 2, 3], [2, 1, 3]) == pytest.approx(0.5)
    assert spearman([1, 2, 3], [1, 1, 1]) is None
    assert spearman([1, 1, 2], [3, 3, 5]) == pytest.approx(1.0)
    assert pearson([0, 1], [1, 0]) == pytest.approx(-1.0)
