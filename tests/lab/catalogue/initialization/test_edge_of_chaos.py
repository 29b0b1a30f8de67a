import math

import pytest

from gainstage.lab.catalogue.initialization import edge_of_chaos
from gainstage.lab.catalogue.initialization.edge_of_chaos import trainable_depth

CLAIM = edge_of_chaos.CLAIM
QUICK = CLAIM.designs["quick"]
# 6ξ at σ_b² = 0.05, rounded
SIX_XI = dict(zip(QUICK.weight_vars, (6, 9, 14, 28, 64, 1e6, 76, 43, 28, 22), strict=True))


def planted(boundary, seeds=QUICK.seeds, depths=QUICK.depths):
    """Accuracy falls with ln depth and is 55 % at ``boundary`` of the seed and σ_w²."""
    rows = []
    for seed in range(seeds):
        for weight_var, six_xi in SIX_XI.items():
            for depth in depths:
                accuracy = min(1.0, max(0.1, 0.55 - 0.5 * math.log(depth / boundary(six_xi) / (1 + 0.01 * seed))))
                rows.append(
                    {"seed": seed, "weight_var": weight_var, "six_xi": six_xi, "depth": depth, "accuracy": accuracy}
                )
    return rows


@pytest.mark.parametrize(
    ("boundary", "outcome"),
    [
        (lambda six_xi: six_xi, "supported"),
        # Half as deep, still in proportion
        (lambda six_xi: min(six_xi, 40) / 2, "supported"),
        (lambda _: 12, "refuted"),
        (lambda six_xi: 100 / min(six_xi, 30), "refuted"),
    ],
)
def test_the_judge_on_planted_rows(boundary, outcome):
    assert CLAIM.judge(planted(boundary), QUICK).outcome == outcome


def test_a_missing_accuracy_leaves_it_open():
    rows = planted(lambda six_xi: six_xi)
    rows[3] = {**rows[3], "accuracy": None}
    assert CLAIM.judge(rows, QUICK).outcome == "inconclusive"


def test_too_few_seeds():
    assert CLAIM.judge(planted(lambda six_xi: six_xi, 4), QUICK).outcome == "inconclusive"


@pytest.mark.parametrize(("boundary", "outcome"), [(lambda _: 1e3, "supported"), (lambda six_xi: six_xi, "refuted")])
def test_the_control_is_of_one_depth_and_can_fail(boundary, outcome):
    rows = planted(boundary, depths=QUICK.depths[-1:])
    assert CLAIM.control.judge(rows, QUICK).outcome == outcome


@pytest.mark.parametrize(
    ("accuracies", "depth"),
    [
        ({4: 0.9, 8: 0.9, 16: 0.9}, 16),
        ({4: 0.2, 8: 0.9, 16: 0.9}, 4),
        ({4: 0.95, 8: 0.65, 16: 0.45}, 8 * 2**0.5),
        # The first crossing counts.
        ({4: 0.65, 8: 0.45, 16: 0.9}, 4 * 2**0.5),
    ],
)
def test_trainable_depth(accuracies, depth):
    assert trainable_depth(accuracies, (4, 8, 16)) == pytest.approx(depth)


def test_trainable_depth_of_nothing_is_none():
    assert math.isnan(trainable_depth({}, (4, 8)))
    assert math.isnan(trainable_depth({4: 0.9, 8: math.nan}, (4, 8)))
