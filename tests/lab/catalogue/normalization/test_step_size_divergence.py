import math

import pytest

from gainstage.lab.catalogue.normalization.step_size_divergence import CLAIM

QUICK = CLAIM.designs["quick"]
NET, INIT = QUICK.cases[0][0].label, QUICK.cases[0][1]


def rows(least, most, seeds=QUICK.seeds, init=INIT):
    """Networks without and with the norm, ± 0.2 in log10 of the relative loss."""
    return [
        {"seed": seed, "net": NET, "init": init, "norm": norm, key: value + 0.2 * (-1) ** seed}
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


def test_other_networks_are_told_and_not_judged():
    found = CLAIM.judge(rows(20.0, 0.0) + rows(0.0, 20.0, init="torch"), QUICK)
    assert found.outcome == "supported"
    assert f"{NET}, torch: smallest without = 0," in found.why


@pytest.mark.parametrize(("most", "outcome"), [(0.0, "supported"), (5.0, "refuted"), (1.0, "inconclusive")])
def test_the_control_must_not_explode(most, outcome):
    planted = [{**row, "norm": "none", "most": most + 0.2 * (-1) ** row["seed"]} for row in rows(0.0, 0.0)[::2]]
    assert CLAIM.control.judge(planted, QUICK).outcome == outcome
