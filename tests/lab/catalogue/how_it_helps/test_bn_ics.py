import math

import pytest

from gainstage.lab.catalogue.how_it_helps.bn_ics import CLAIM

QUICK = CLAIM.designs["quick"]


def planted(decades, by="norm", over="batch", under="none", spread=0.01, **extra):
    rows = []
    for seed in range(QUICK.seeds):
        shift = decades + spread * (seed - (QUICK.seeds - 1) / 2)
        for lr in QUICK.lrs:
            same = {"seed": seed, "lr": lr, "step": 0, "layer": 3, "diverged": False, "relative": 0.5, "cosine": 0.9}
            rows += [{**same, by: under, "shift": 1.0}, {**same, by: over, "shift": 10**shift, **extra}]
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


@pytest.mark.parametrize(("decades", "outcome"), [(-1.0, "supported"), (0.0, "refuted"), (-0.301, "inconclusive")])
def test_a_shorter_step_must_shift_less(decades, outcome):
    rows = planted(decades, by="stride", over=0.1, under=1.0)
    assert CLAIM.control.judge(rows, QUICK).outcome == outcome
