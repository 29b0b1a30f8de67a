import math

import pytest

from gainstage.lab.catalogue.depth import identity_bias

CLAIM = identity_bias.CLAIM
QUICK = CLAIM.designs["quick"]


def planted(**changes):
    """Rows of nets that are as predicted, but for some figures of batch norm's or of the bare net's."""
    branch = {"kind": "net", "net": "branch", "level": 1.0, "slope": -1.0}
    none = {"kind": "net", "net": "none", "mean_share": 0.5, "doublings": 1.0}
    for row in (branch, none):
        row.update({key: value for key, value in changes.items() if key in row})
    return [{**row, "seed": seed} for seed in range(QUICK.seeds) for row in (branch, none)]


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, "supported"),
        ({"level": 1.5}, "refuted"),
        ({"slope": 0.0}, "refuted"),
        ({"mean_share": 0.1}, "refuted"),
        ({"level": None}, "inconclusive"),
        ({"mean_share": math.nan}, "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(changes, outcome):
    assert CLAIM.judge(planted(**changes), QUICK).outcome == outcome


def test_the_edge_of_the_band_is_inconclusive():
    rows = planted(level=1 + QUICK.level_tolerance)
    rows[0]["level"] += 0.01
    assert CLAIM.judge(rows, QUICK).outcome == "inconclusive"


@pytest.mark.parametrize(("slope", "outcome"), [(0.0, "supported"), (-1.0, "refuted"), (None, "inconclusive")])
def test_the_control_asks_for_a_share_that_stays(slope, outcome):
    rows = [{"net": "stream", "slope": slope, "seed": seed} for seed in range(QUICK.seeds)]
    assert CLAIM.control.judge(rows, QUICK).outcome == outcome


def test_the_bands_tell_the_two_laws_apart():
    for design in CLAIM.designs.values():
        assert design.slope_tolerance < 0.1
        assert design.half_tolerance < 0.05
