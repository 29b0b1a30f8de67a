import math

import pytest

from gainstage.lab.catalogue.depth import fisher_conditioning

CLAIM = fisher_conditioning.CLAIM
QUICK = CLAIM.designs["quick"]
PREDICTED = {"none": 1.0, "last": 0.0, "middle": 1.0, "layer": 1.0}


def planted(exponents):
    return [{"net": net, "exponent": e, "seed": s} for s in range(QUICK.seeds) for net, e in exponents.items()]


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, "supported"),
        ({"last": 1.0}, "refuted"),
        ({"middle": 0.0}, "refuted"),
        ({"layer": 0.0}, "refuted"),
        ({"none": None}, "inconclusive"),
        ({"last": math.nan}, "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(changes, outcome):
    assert CLAIM.judge(planted({**PREDICTED, **changes}), QUICK).outcome == outcome


def test_seeds_on_both_sides_are_inconclusive():
    rows = planted(PREDICTED)
    for row in rows:
        if row["net"] == "layer":
            row["exponent"] = 1.2 * (row["seed"] % 2)
    assert CLAIM.judge(rows, QUICK).outcome == "inconclusive"


@pytest.mark.parametrize(("last", "outcome"), [(0.0, "supported"), (-1.0, "refuted"), (None, "inconclusive")])
def test_the_control_asks_for_no_difference(last, outcome):
    assert CLAIM.control.judge(planted({"tanh none": 0.0, "tanh last": last}), QUICK).outcome == outcome
