import math

import pytest

from gainstage.lab.catalogue.how_it_helps.dln_smoothness import CLAIM, MEASURES

QUICK = CLAIM.designs["quick"]
KEYS = ("loss", *MEASURES)


def planted(over="batch", spread=0.01, **decades):
    rows = []
    for seed in range(QUICK.seeds):
        for step in (0, QUICK.control_steps, QUICK.steps):
            same = {"seed": seed, "lr": QUICK.lr, "step": step, "net": 0, "diverged": False}
            ratios = {key: decades.get(key, -1.0) + spread * seed for key in KEYS}
            rows += [
                {**same, "norm": "none", **dict.fromkeys(KEYS, 5.0)},
                {**same, "norm": over, **{key: 5.0 * 10**ratio for key, ratio in ratios.items()}},
            ]
    return rows


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    ("decades", "outcome"), [(-0.5, "supported"), (0.5, "refuted"), (-0.02, "inconclusive"), (math.nan, "inconclusive")]
)
def test_all_four_figures_count(key, decades, outcome):
    assert CLAIM.judge(planted(**{key: decades}), QUICK).outcome == outcome


def test_the_effect_is_the_last_loss():
    found = CLAIM.judge(planted(loss=-0.5, spread=0.0), QUICK)
    assert found.effect == pytest.approx(-0.5)
    assert "Before the first update, log10 ratio of the loss = -0.5" in found.why


@pytest.mark.parametrize(("decades", "outcome"), [(0.0, "supported"), (-1.0, "refuted"), (-0.32, "inconclusive")])
def test_an_idle_norm_must_not_halve_the_loss(decades, outcome):
    assert CLAIM.control.judge(planted(over="fixed", loss=decades), QUICK).outcome == outcome
