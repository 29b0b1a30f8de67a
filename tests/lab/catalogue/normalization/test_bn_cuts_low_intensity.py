import math

import pytest

from gainstage.lab.catalogue.normalization.bn_cuts_low_intensity import CLAIM

QUICK = CLAIM.designs["quick"]
SPREAD = [0.001 * (seed - 4.5) for seed in range(10)]


def planted(change, low=True):
    return [
        {"seed": seed, "place": "own unit", "intensity": 0.1, "low": low, "change": change and change + spread}
        for seed, spread in enumerate(SPREAD)
    ]


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        (-0.5, "supported"),
        (2.0, "refuted"),
        (0.0001, "inconclusive"),
        (math.nan, "inconclusive"),
        (None, "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(change, outcome):
    assert CLAIM.judge(planted(change), QUICK).outcome == outcome


def test_intense_nuisances_are_not_judged():
    assert CLAIM.judge([*planted(2.0), *planted(-50.0, low=False)], QUICK).outcome == "refuted"


@pytest.mark.parametrize(("change", "outcome"), [(0.001, "supported"), (0.5, "refuted"), (-0.5, "refuted")])
def test_the_control_must_stay(change, outcome):
    assert CLAIM.control.judge(planted(change), QUICK).outcome == outcome


def test_the_tolerance_is_small_beside_the_effect():
    # The least change of a low intensity is about log10(1/0.3²) = 1.05.
    assert QUICK.tolerance < 0.05


def test_a_weak_nuisance_becomes_as_strong_as_the_others(verdicts):
    verdict = verdicts["bn-cuts-low-intensity"]
    rows = [row for row in verdict.rows if row["place"] == "own unit" and row["intensity"] == 0.1]
    # closed_form: before a²/(15 + a²); behind 1/16 up to ε/a²; the sampled variances err by √(2/4096)
    assert [row["before"] for row in rows] == pytest.approx([0.01 / 15.01] * len(rows), rel=0.1)
    assert [row["after"] for row in rows] == pytest.approx([1 / 16] * len(rows), rel=0.001)
