import math

import pytest

from gainstage.lab.catalogue.initialization import mismatch_decay

CLAIM = mismatch_decay.CLAIM
QUICK = CLAIM.designs["quick"]
TRUE = {("xavier", 1.0): -math.log(2), **{("he", c): 2 * math.log(c) for c in QUICK.scales}}


def planted(where=("xavier", 1.0), shift=0.0, seeds=QUICK.seeds):
    return [
        {
            "seed": seed,
            "case": case,
            "scale": scale,
            "slope": slope - QUICK.bias + 0.001 * (-1) ** seed + (shift if (case, scale) == where else 0.0),
            "last": 29 * slope,
        }
        for seed in range(seeds)
        for (case, scale), slope in TRUE.items()
    ]


@pytest.mark.parametrize("where", TRUE)
@pytest.mark.parametrize(
    ("shift", "outcome"),
    [
        (0.0, "supported"),
        (math.log(2), "refuted"),
        (-0.05, "refuted"),
        (QUICK.slope_tolerance, "inconclusive"),
        (math.nan, "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(where, shift, outcome):
    assert CLAIM.judge(planted(where, shift), QUICK).outcome == outcome


def test_too_few_seeds():
    assert CLAIM.judge(planted(seeds=QUICK.seeds - 1), QUICK).outcome == "inconclusive"


@pytest.mark.parametrize(("slope", "outcome"), [(0.0, "supported"), (-math.log(2), "refuted")])
def test_the_control_can_fail(slope, outcome):
    rows = [{"seed": seed, "case": "he", "scale": 1.0, "slope": slope - QUICK.bias} for seed in range(QUICK.seeds)]
    assert CLAIM.control.judge(rows, QUICK).outcome == outcome


def test_the_tolerance_tells_every_case_from_he():
    for design in CLAIM.designs.values():
        assert all(abs(2 * math.log(c)) > 10 * design.slope_tolerance for c in design.scales)
