import math

import pytest

from gainstage.lab.catalogue.depth import rank_predicts
from gainstage.lab.catalogue.depth.rank_predicts import pearson, spearman

CLAIM = rank_predicts.CLAIM
QUICK = CLAIM.designs["quick"]


def planted(over, within):
    pairs = enumerate(zip(over, within, strict=True))
    return [
        row
        for seed, (first, second) in pairs
        for row in (
            {"kind": "seed", "net": "none", "correlation": first, "seed": seed},
            {"kind": "within", "within": second, "seed": seed},
        )
    ]


def alike(over, within=0.9):
    return planted([over] * QUICK.seeds, [within] * QUICK.seeds)


@pytest.mark.parametrize(
    ("over", "within", "outcome"),
    [
        (0.9, 0.9, "supported"),
        (-0.9, 0.9, "refuted"),
        (0.9, 0.0, "refuted"),  # depth alone
        (0.9, -0.9, "refuted"),
        (0.2, 0.9, "refuted"),  # too little to predict by
        (None, 0.9, "inconclusive"),
        (0.9, math.nan, "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(over, within, outcome):
    assert CLAIM.judge(alike(over, within), QUICK).outcome == outcome


def test_correlations_of_both_signs_are_inconclusive():
    mixed = [(-1.0) ** seed for seed in range(QUICK.seeds)]
    assert CLAIM.judge(planted([0.9] * QUICK.seeds, mixed), QUICK).outcome == "inconclusive"


@pytest.mark.parametrize(("correlation", "outcome"), [(0.0, "supported"), (0.9, "refuted"), (None, "inconclusive")])
def test_the_control_asks_for_no_correlation(correlation, outcome):
    assert CLAIM.control.judge(alike(correlation), QUICK).outcome == outcome


def test_the_reason_tells_of_batch_norm_at_the_same_depth():
    rows = alike(0.9)
    for seed in range(QUICK.seeds):
        net = {"kind": "net", "depth": QUICK.within[-1], "seed": seed, "scale": 1.0, "rank": 3.5, "accuracy": 0.4}
        rows += [{**net, "net": "none", "rank": 1.0}, {**net, "net": "batch"}]
    assert "batch norm r = 3.5 and accuracy 0.4" in CLAIM.judge(rows, QUICK).why


def test_spearman_and_pearson():
    assert spearman([1, 2, 3], [10, 100, 1000]) == pytest.approx(1.0)
    # closed_form: 1 - 6·Σd²/(n(n² - 1)) = 1 - 6·2/24
    assert spearman([1, 2, 3], [2, 1, 3]) == pytest.approx(0.5)
    assert spearman([1, 2, 3], [1, 1, 1]) is None
    assert spearman([1, 1, 2], [3, 3, 5]) == pytest.approx(1.0)
    assert pearson([0, 1], [1, 0]) == pytest.approx(-1.0)
