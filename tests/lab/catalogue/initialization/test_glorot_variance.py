import math

import pytest

from gainstage.lab.catalogue.initialization import glorot_variance

CLAIM = glorot_variance.CLAIM
QUICK = CLAIM.designs["quick"]


def planted(shift=0.0, direction="forward", draw="normal", seeds=QUICK.seeds):
    rows = []
    for seed in range(seeds):
        for d in glorot_variance.DRAWS:
            for way in glorot_variance.DIRECTIONS:
                here = shift if (d, way) == (draw, direction) else 0.0
                slope = here - QUICK.bias + 0.001 * (-1) ** seed
                rows.append({"seed": seed, "case": "near-linear", "draw": d, "direction": way, "slope": slope})
    return rows


@pytest.mark.parametrize("direction", glorot_variance.DIRECTIONS)
@pytest.mark.parametrize(
    ("shift", "outcome"),
    [
        (0.0, "supported"),
        (-math.log(3), "refuted"),
        (0.05, "refuted"),
        (QUICK.slope_tolerance, "inconclusive"),
        (math.nan, "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(shift, direction, outcome):
    assert CLAIM.judge(planted(shift, direction), QUICK).outcome == outcome


def test_too_few_seeds():
    assert CLAIM.judge(planted(seeds=QUICK.seeds - 1), QUICK).outcome == "inconclusive"


@pytest.mark.parametrize(("slope", "outcome"), [(-math.log(3), "supported"), (0.0, "refuted")])
def test_the_control_can_fail(slope, outcome):
    rows = [
        {"seed": seed, "case": "old-rule", "draw": "uniform", "direction": way, "slope": slope + 0.001 * seed}
        for seed in range(QUICK.seeds)
        for way in glorot_variance.DIRECTIONS
    ]
    assert CLAIM.control.judge(rows, QUICK).outcome == outcome


def test_the_tolerance_is_small_beside_the_control():
    for design in CLAIM.designs.values():
        assert design.slope_tolerance < 0.05 * math.log(3)
        # What tanh's curvature costs at inputs of this size is far below it.
        assert 2 * design.input_rms**2 < 0.1 * design.slope_tolerance
