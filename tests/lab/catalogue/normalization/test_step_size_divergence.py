import math

import pytest

from gainstage.lab.catalogue.normalization.step_size_divergence import CLAIM, exploding

QUICK = CLAIM.designs["quick"]
NET, INIT = QUICK.cases[0][0].label, QUICK.cases[0][1]


def rows(least, most, seeds=QUICK.seeds, init=INIT, first=0.0):
    """Networks without and with the norm, ± 0.2 in log10 of the relative loss."""
    return [
        {"seed": seed, "net": NET, "init": init, "norm": norm, "first": first, key: value + 0.2 * (-1) ** seed}
        for seed in range(seeds)
        for norm, key, value in (("none", "least", least), ("batch", "most", most))
    ]


@pytest.mark.parametrize(
    ("least", "most", "outcome"),
    [
        (20.0, 0.0, "supported"),
        (0.0, 0.0, "refuted"),  # neither explodes
        (20.0, 20.0, "refuted"),  # both do
        (1.0, 0.0, "inconclusive"),
        (20.0, 1.0, "inconclusive"),
        (math.nan, 0.0, "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(least, most, outcome):
    assert CLAIM.judge(rows(least, most), QUICK).outcome == outcome


def test_a_network_that_explodes_at_every_step_has_no_critical_size():
    assert CLAIM.judge(rows(20.0, 0.0, first=20.0), QUICK).outcome == "refuted"
    assert CLAIM.judge(rows(20.0, 0.0, first=0.5), QUICK).outcome == "supported"
    assert CLAIM.judge(rows(20.0, 0.0, first=math.nan), QUICK).outcome == "inconclusive"


def test_the_smallest_exploding_step_is_told():
    steps = [
        {"kind": "step", "seed": seed, "net": NET, "init": INIT, "norm": "none", "step": step, "log_relative": log}
        for seed, logs in ((0, (0.0, 2.0, 1.5)), (1, (0.0, 1.0, 30.0)), (2, (0.0, 0.0, 0.5)))
        for step, log in zip((1e-5, 1e-3, 1e-2), logs, strict=True)
    ]
    assert exploding(steps, net=NET) == [1e-3, 1e-2, math.inf]
    assert "0.001 to none" in CLAIM.judge(rows(20.0, 0.0) + steps, QUICK).why


def test_other_networks_are_told_and_not_judged():
    found = CLAIM.judge(rows(20.0, 0.0) + rows(0.0, 20.0, init="torch"), QUICK)
    assert found.outcome == "supported"
    assert f"{NET}, torch: smallest without = 0," in found.why


@pytest.mark.parametrize(("most", "outcome"), [(0.0, "supported"), (5.0, "refuted"), (1.0, "inconclusive")])
def test_the_control_must_not_explode(most, outcome):
    planted = [{**row, "norm": "none", "most": most + 0.2 * (-1) ** row["seed"]} for row in rows(0.0, 0.0)[::2]]
    assert CLAIM.control.judge(planted, QUICK).outcome == outcome
