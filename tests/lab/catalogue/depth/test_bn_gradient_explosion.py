import math

import pytest

from gainstage.lab.catalogue.depth import bn_gradient_explosion
from gainstage.lab.catalogue.depth.bn_gradient_explosion import RELU_FACTOR, linear_factor
from gainstage.theory.gradients import batch_norm_gradient_factor
from gainstage.theory.registry import activation

CLAIM = bn_gradient_explosion.CLAIM
QUICK = CLAIM.designs["quick"]


def planted(**changes):
    factors = {"relu": RELU_FACTOR, "linear small": 1.2, "linear large": 14 / 13, **changes}
    return [{"net": net, "factor": factor, "seed": s} for s in range(QUICK.seeds) for net, factor in factors.items()]


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, "supported"),
        ({"relu": 1.0}, "refuted"),
        ({"linear small": 1.0}, "refuted"),
        ({"linear large": 1.0}, "refuted"),
        ({"relu": None}, "inconclusive"),
        ({"linear large": math.nan}, "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(changes, outcome):
    assert CLAIM.judge(planted(**changes), QUICK).outcome == outcome


def test_seeds_on_both_sides_of_the_edge_are_inconclusive():
    rows = planted()
    for row in rows:
        if row["net"] == "relu":
            row["factor"] += 0.08 * (row["seed"] % 2)
    assert CLAIM.judge(rows, QUICK).outcome == "inconclusive"


@pytest.mark.parametrize(("factor", "outcome"), [(1.0, "supported"), (1.467, "refuted"), (None, "inconclusive")])
def test_the_control_asks_for_no_growth(factor, outcome):
    rows = [{"net": "none", "factor": factor, "seed": seed} for seed in range(QUICK.seeds)]
    assert CLAIM.control.judge(rows, QUICK).outcome == outcome


def test_the_factors_are_those_of_the_theory():
    relu, identity = activation("relu"), activation("identity")
    assert pytest.approx(batch_norm_gradient_factor(relu), abs=1e-6) == RELU_FACTOR
    assert linear_factor(8) == pytest.approx(batch_norm_gradient_factor(identity, 8))


@pytest.mark.parametrize("batch", [64, 128, 512])
def test_the_band_covers_what_a_finite_batch_adds(batch):
    assert 1 < batch_norm_gradient_factor(activation("relu"), batch) / RELU_FACTOR < 1 + 1.2 / batch
