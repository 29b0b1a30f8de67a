import math

import pytest

from gainstage.lab.catalogue.numbers.small_batch import CLAIM, NORMS

QUICK = CLAIM.designs["quick"]
SPREAD = (-0.002, -0.001, 0.0, 0.001, 0.002)


def planted(rises, smallest=2):
    """Errors of 10 % at the largest batch, and a rise at the smallest by norm."""
    sizes = {smallest: 1.0, QUICK.batches[-1]: 0.0}
    return [
        {
            "seed": seed,
            "norm": norm,
            "batch_size": size,
            "test_error": None if rise is None else 0.1 + factor * (rise + spread),
        }
        for norm, rise in rises.items()
        for size, factor in sizes.items()
        for seed, spread in enumerate(SPREAD)
    ]


@pytest.mark.parametrize(
    ("batch", "group", "outcome"),
    [
        (0.3, 0.0, "supported"),
        (0.3, -0.05, "supported"),
        (0.0, 0.0, "refuted"),
        (0.3, 0.1, "refuted"),
        (0.01, 0.0, "inconclusive"),
        (0.3, 0.01, "inconclusive"),
        (math.nan, 0.0, "inconclusive"),
        (0.3, None, "inconclusive"),
    ],
)
def test_bn_must_rise_and_gn_must_not(batch, group, outcome):
    rows = planted({"batch": batch, "group": group, "layer": 0.0})
    assert CLAIM.judge(rows, QUICK).outcome == outcome


@pytest.mark.parametrize(("rise", "outcome"), [(0.0, "supported"), (-0.1, "supported"), (0.1, "refuted")])
def test_the_control_must_not_rise(rise, outcome):
    assert CLAIM.control.judge(planted({"none": rise}), QUICK).outcome == outcome


def test_a_run_that_is_missing_is_not_judged():
    rows = [row for row in planted(dict.fromkeys(NORMS, 0.3)) if (row["seed"], row["batch_size"]) != (1, 2)]
    assert CLAIM.judge(rows, QUICK).outcome == "inconclusive"
