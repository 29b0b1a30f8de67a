import math

import pytest

from gainstage.lab.catalogue.normalization import weight_growth
from gainstage.lab.catalogue.normalization.weight_growth import ERRORS

CLAIM = weight_growth.CLAIM
QUICK = CLAIM.designs["quick"]


def nets(norm="batch", seeds=QUICK.seeds, **changed):
    """Rows of networks that do as predicted, but for what is changed."""
    exact = {"alignment": 1e-16, "length_error": 1e-15, "gradient_error": 1e-15}
    return [
        {
            "kind": "net", "norm": norm, "seed": seed, "scale": a, "growth": 0.2, "least_growth": 0.1 + 0.01 * seed,
            "log_gradient": -1.0, **exact, **changed,
        }
        for seed in range(seeds) for a in QUICK.scales
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "outcome"),
    [
        ({}, "supported"),
        ({"least_growth": -0.1}, "refuted"),
        ({"least_growth": 0.0}, "inconclusive"),
        ({"least_growth": None}, "inconclusive"),
        ({"alignment": 1e-3}, "refuted"),
        ({"length_error": 1e-3}, "refuted"),
        ({"gradient_error": 1e-3}, "refuted"),
        ({"gradient_error": 1e-9}, "supported"),
        ({"gradient_error": None}, "inconclusive"),
        ({"length_error": math.nan}, "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(changed, outcome):
    assert CLAIM.judge(nets(**changed), QUICK).outcome == outcome


def test_the_effect_is_the_growth_from_scale_one():
    rows = [{**row, "least_growth": row["least_growth"] if row["scale"] == 1 else -1.0} for row in nets()]
    assert CLAIM.judge(rows, QUICK).effect == pytest.approx(0.12)


def test_one_error_in_one_seed_is_enough():
    for column in ERRORS:
        rows = nets()
        rows[-1][column] = 1e-6
        assert CLAIM.judge(rows, QUICK).outcome == "refuted"


def test_four_seeds_are_too_few():
    assert CLAIM.judge(nets(seeds=4), QUICK).outcome == "inconclusive"


def test_points_of_the_figure_are_not_judged():
    rows = [*nets(), {"kind": "step", "seed": 0, "scale": 1.0, "step": 0, "growth": 0.0}]
    assert CLAIM.judge(rows, QUICK).outcome == "supported"


@pytest.mark.parametrize(
    ("changed", "outcome"),
    [
        ({"log_gradient": 3.0, "length_error": 0.1}, "supported"),
        ({"log_gradient": -1.0, "length_error": 0.1}, "refuted"),
        ({"log_gradient": 3.0, "length_error": 1e-15}, "refuted"),
        ({"log_gradient": None, "length_error": 0.1}, "inconclusive"),
    ],
)
def test_the_control_can_fail(changed, outcome):
    assert CLAIM.control.judge(nets("none", **changed), QUICK).outcome == outcome
