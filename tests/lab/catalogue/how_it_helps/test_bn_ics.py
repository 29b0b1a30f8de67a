import math

import pytest

from gainstage.lab.catalogue.how_it_helps.bn_ics import CLAIM

QUICK = CLAIM.designs["quick"]


def planted(decades, over="batch", spread=0.01, lrs=QUICK.lrs, **extra):
    rows = []
    for seed in range(QUICK.seeds):
        shift = decades + spread * (seed - (QUICK.seeds - 1) / 2)
        for lr in lrs:
            same = {"seed": seed, "lr": lr, "step": 0, "layer": 3, "diverged": False, "relative": 0.5, "cosine": 0.9}
            rows += [{**same, "norm": "none", "shift": 1.0}, {**same, "norm": over, "shift": 10**shift, **extra}]
    return rows


@pytest.mark.parametrize(
    ("decades", "outcome"),
    [(1.0, "supported"), (-0.05, "supported"), (-0.5, "refuted"), (-0.1, "inconclusive"), (math.nan, "inconclusive")],
)
def test_the_judge_on_planted_rows(decades, outcome):
    assert CLAIM.judge(planted(decades), QUICK).outcome == outcome


def test_a_normed_run_that_diverges_has_the_larger_shift():
    found = CLAIM.judge(planted(0.0, shift=None, relative=None, cosine=0.0, diverged=True), QUICK)
    assert (found.outcome, found.effect) == ("supported", 3.0)
    assert "cosine(G, G') with BN - without = -0.9" in found.why


@pytest.mark.parametrize("odd", QUICK.lrs)
@pytest.mark.parametrize(("most", "one"), [(1.0, -1.0), (-1.0, 1.0)])
def test_one_rate_is_not_outvoted(most, one, odd):
    rows = planted(most, lrs=[lr for lr in QUICK.lrs if lr != odd]) + planted(one, lrs=[odd])
    found = CLAIM.judge(rows, QUICK)
    assert found.outcome == "inconclusive"
    assert f"Rate {odd:g} ({'supported' if one > 0 else 'refuted'})" in found.why


@pytest.mark.parametrize(
    ("decades", "outcome"),
    [(0.0, "supported"), (0.05, "supported"), (0.3, "refuted"), (-0.3, "refuted"), (0.1, "inconclusive")],
)
def test_an_idle_norm_must_shift_as_much(decades, outcome):
    assert CLAIM.control.judge(planted(decades, over="frozen"), QUICK).outcome == outcome
