import math

import pytest

from gainstage.lab.catalogue.normalization.sgd_noise_bound import CLAIM

QUICK = CLAIM.designs["quick"]


def planted(draw, ratio, norm="none"):
    return [{"seed": seed, "norm": norm, "draw": draw, "batch": 2, "ratio": ratio} for seed in range(5)]


@pytest.mark.parametrize(
    ("draw", "norm", "ratio", "outcome"),
    [
        ("with", "none", 1.0, "supported"),
        ("with", "none", 1 + 1e-8, "refuted"),
        ("without", "none", 0.86, "supported"),
        ("without", "none", 1.2, "refuted"),
        ("without", "none", math.nan, "inconclusive"),
        ("without", "none", None, "inconclusive"),
        # BN in training mode is reported: the bound does not speak of it.
        ("without", "batch", 300.0, "supported"),
    ],
)
def test_the_judge_on_planted_rows(draw, norm, ratio, outcome):
    rows = [*planted("with", 1.0), *planted("without", 0.9), *planted(draw, ratio, norm)]
    assert CLAIM.judge(rows, QUICK).outcome == outcome


@pytest.mark.parametrize(("ratio", "outcome"), [(1.5, "supported"), (0.99, "refuted"), (None, "inconclusive")])
def test_one_control_below_the_bound_fails_it(ratio, outcome):
    rows = [*planted("one class", 2.0), *planted("one class", ratio)[:1]]
    assert CLAIM.control.judge(rows, QUICK).outcome == outcome
