import math

import pytest

from gainstage.lab.catalogue.depth import rank_collapse

CLAIM = rank_collapse.CLAIM
QUICK = CLAIM.designs["quick"]


def planted(exponent=0.6, change=0.0, collapsed=1.0):
    rows = [
        {"kind": "exponent", "net": "batch", "exponent": exponent, "rank_exponent": 0.45},
        {"kind": "late", "net": "batch", "width": 64, "change": change, "over_root": 0.9, "trace_rank": 7.0},
        {"kind": "end", "net": "none", "width": 64, "trace_rank": collapsed},
    ]
    return [{**row, "seed": seed} for seed in range(QUICK.seeds) for row in rows]


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, "supported"),
        ({"exponent": 1.0}, "supported"),
        ({"exponent": 0.1}, "refuted"),
        ({"exponent": 0.49}, "refuted"),  # nothing is granted below the theorem's half
        ({"change": -1.0}, "refuted"),
        ({"collapsed": 4.0}, "refuted"),
        ({"exponent": None}, "inconclusive"),
        ({"collapsed": math.nan}, "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(changes, outcome):
    assert CLAIM.judge(planted(**changes), QUICK).outcome == outcome


def test_exponents_on_both_sides_of_the_limit_are_inconclusive():
    rows = planted()
    for row in rows:
        if row["kind"] == "exponent":
            row["exponent"] = 0.4 + 0.2 * (row["seed"] % 2)
    assert CLAIM.judge(rows, QUICK).outcome == "inconclusive"


@pytest.mark.parametrize(("rank", "outcome"), [(1.0, "supported"), (5.0, "refuted"), (None, "inconclusive")])
def test_the_control_asks_for_a_collapse(rank, outcome):
    rows = [{"kind": "end", "net": "layer", "trace_rank": rank, "seed": seed} for seed in range(QUICK.seeds)]
    assert CLAIM.control.judge(rows, QUICK).outcome == outcome


def test_each_rank_is_named_in_the_reason():
    why = CLAIM.judge(planted(), QUICK).why
    assert all(name in why for name in rank_collapse.RANKS)
    assert "r itself = 0.45" in why
