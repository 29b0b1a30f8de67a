import math

import pytest

from gainstage.lab.catalogue.normalization.bn_higher_lr import CLAIM

QUICK = CLAIM.designs["quick"]


def rows(rate, steps, norm="batch", seeds=QUICK.seeds):
    """Summaries whose norm bears 10^rate times the learning rate and takes 10^steps times the steps, ± 0.05."""
    found = []
    for seed in range(seeds):
        wobble = 0.05 * (-1) ** seed
        found.append({"seed": seed, "norm": "none", "log_largest_lr": -0.5, "log_fewest_steps": 2.0, "at_top": 0.0})
        own = {"log_largest_lr": -0.5 + rate + wobble, "log_fewest_steps": 2.0 + steps + wobble, "at_top": 1.0}
        found.append({"seed": seed, "norm": norm, **own})
    return found


@pytest.mark.parametrize(
    ("rate", "steps", "outcome"),
    [
        (1.0, -0.4, "supported"),
        (0.5, -0.4, "refuted"),  # higher, but not much higher: threefold
        (0.7, -0.4, "inconclusive"),
        (1.0, 0.4, "refuted"),
        (1.0, 0.0, "inconclusive"),
        (math.nan, -0.4, "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(rate, steps, outcome):
    assert CLAIM.judge(rows(rate, steps), QUICK).outcome == outcome


def test_a_network_that_is_never_usable_has_no_figure():
    missing = [{**row, "log_largest_lr": None} for row in rows(1.0, -0.4)]
    assert CLAIM.judge(missing, QUICK).outcome == "inconclusive"


@pytest.mark.parametrize(("rate", "outcome"), [(0.0, "supported"), (0.5, "refuted"), (0.25, "inconclusive")])
def test_the_control_fails_if_its_affine_part_bears_more(rate, outcome):
    assert CLAIM.control.judge(rows(rate, 0.0, norm="affine"), QUICK).outcome == outcome


def test_one_seed_less_is_too_few():
    assert CLAIM.judge(rows(1.0, -0.4, seeds=QUICK.seeds - 1), QUICK).outcome == "inconclusive"
