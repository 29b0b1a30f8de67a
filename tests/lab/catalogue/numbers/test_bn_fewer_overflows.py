import math

import pytest

from gainstage.lab.catalogue.numbers import bn_fewer_overflows

CLAIM = bn_fewer_overflows.CLAIM
QUICK = CLAIM.designs["quick"]


def planted(gain, shift=0.01, seeds=5):
    return [
        {"seed": seed, "depth": depth, "norm": norm, "log_scale": (gain if norm == "batch" else 0.0) + shift * seed}
        for seed in range(seeds)
        for depth in QUICK.depths
        for norm in ("none", "batch")
    ]


def spread(gain, by):
    rows = planted(gain)
    return [{**r, "log_scale": r["log_scale"] + (by * (r["seed"] - 2) if r["norm"] == "batch" else 0)} for r in rows]


@pytest.mark.parametrize(
    ("rows", "outcome"),
    [
        (planted(3.5), "supported"),
        (planted(0.2), "refuted"),
        (planted(-1.0), "refuted"),
        (spread(0.3, 0.1), "inconclusive"),
        (planted(math.nan), "inconclusive"),
        (planted(3.5, seeds=4), "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(rows, outcome):
    assert CLAIM.judge(rows, QUICK).outcome == outcome


def test_only_the_deepest_network_is_judged():
    rows = [{**row, "log_scale": 0.0} if row["depth"] < 20 else row for row in planted(3.5)]
    assert CLAIM.judge(rows, QUICK).outcome == "supported"


def test_the_control_fails_by_one_step_of_the_grid():
    assert CLAIM.control.judge(planted(0.0), QUICK).outcome == "supported"
    assert CLAIM.control.judge(planted(1 / QUICK.per_decade), QUICK).outcome == "refuted"
