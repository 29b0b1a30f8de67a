import math

import pytest

from gainstage.lab.catalogue.normalization import combined_effect

CLAIM = combined_effect.CLAIM
QUICK = CLAIM.designs["quick"]
BEST = QUICK.lrs[2]


def planted(norm, scale, accuracy, *, rates=1, seeds=QUICK.seeds):
    """A network that learns at ``rates`` learning rates from the third on, and trains best at the third."""
    good = QUICK.lrs[2 : 2 + rates]
    return [
        {
            "seed": seed, "norm": norm, "scale": scale, "lr": lr, "train_loss": 0.1 if lr == BEST else 2.3,
            "test_accuracy": accuracy if lr in good else 0.1,
        }
        for seed in range(seeds) for lr in QUICK.lrs
    ]  # fmt: skip


def cases(both, init, small, large, **options):
    named = {("batch", 1.0): both, ("none", 1.0): init, ("batch", 0.3): small, ("batch", 3.0): large}
    return [row for (norm, scale), accuracy in named.items() for row in planted(norm, scale, accuracy, **options)]


@pytest.mark.parametrize(
    ("accuracies", "outcome", "effect"),
    [
        ((0.95, 0.9, 0.8, 0.7), "supported", 0.05),
        ((0.95, 0.95, 0.8, 0.7), "refuted", 0.0),
        ((0.95, 0.9, 0.96, 0.7), "refuted", -0.01),
        ((0.95, 0.9, 0.8, 0.945), "refuted", 0.005),
    ],
)
def test_the_smallest_difference_decides_and_is_shown(accuracies, outcome, effect):
    found = CLAIM.judge(cases(*accuracies), QUICK)
    assert (found.outcome, found.effect) == (outcome, pytest.approx(effect))


@pytest.mark.parametrize("missing", [None, math.nan])
def test_a_figure_that_cannot_be_had_is_inconclusive(missing):
    found = CLAIM.judge(cases(0.95, missing, 0.8, 0.7), QUICK)
    assert (found.outcome, found.effect) == ("inconclusive", None)


def test_a_difference_that_changes_sign_between_seeds_is_inconclusive():
    rows = cases(0.9, 0.8, 0.8, 0.8)
    for row in rows:
        if row["norm"] == "none" and row["lr"] == BEST:
            row["test_accuracy"] += 0.02 * row["seed"]
    assert CLAIM.judge(rows, QUICK).outcome == "inconclusive"


def test_nine_seeds_are_too_few():
    assert CLAIM.judge(cases(0.95, 0.9, 0.8, 0.7, seeds=9), QUICK).outcome == "inconclusive"


def test_the_reason_counts_the_rates_that_train():
    why = CLAIM.judge(cases(0.95, 0.9, 0.8, 0.7, rates=3), QUICK).why
    assert "of 6 learning rates" in why
    assert "batch norm, 1 × He = 3" in why


@pytest.mark.parametrize(("neither", "outcome"), [(0.1, "supported"), (0.9, "refuted")])
def test_the_control_can_fail(neither, outcome):
    rows = planted("none", 1.0, 0.9) + planted("none", 0.3, neither) + planted("none", 3.0, 0.1)
    assert CLAIM.control.judge(rows, QUICK).outcome == outcome
