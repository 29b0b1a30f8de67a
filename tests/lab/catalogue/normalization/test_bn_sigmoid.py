import math

import pytest

from gainstage.lab.catalogue.normalization import bn_sigmoid

CLAIM = bn_sigmoid.CLAIM
QUICK = CLAIM.designs["quick"]
BEST = QUICK.lrs[3]


def planted(norm, accuracy, *, depth=8, scale=1.0, seeds=QUICK.seeds):
    """A network that learns at one rate; at another its test accuracy would flatter it, but it trains worse there."""
    return [
        {
            "seed": seed, "norm": norm, "depth": depth, "scale": scale, "lr": lr,
            "train_loss": 0.1 if lr == BEST else 2.3,
            "test_accuracy": accuracy if lr == BEST else 0.99,
        }
        for seed in range(seeds) for lr in QUICK.lrs
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("batch", "none", "outcome"),
    [
        (0.95, 0.1, "supported"),
        (0.95, 0.9, "refuted"),
        (0.1, 0.9, "refuted"),
        (0.3, 0.2, "refuted"),
        (0.95, None, "inconclusive"),
        (math.nan, 0.1, "inconclusive"),
    ],
)
def test_the_judge_on_planted_accuracies(batch, none, outcome):
    assert CLAIM.judge(planted("batch", batch) + planted("none", none), QUICK).outcome == outcome


def test_the_effect_is_the_gap_at_the_largest_depth_from_glorot_s_weights():
    rows = planted("batch", 0.9) + planted("none", 0.2)
    rows += planted("batch", 0.5, depth=3) + planted("none", 0.5, depth=3) + planted("none", 0.6, scale=8.0)
    found = CLAIM.judge(rows, QUICK)
    assert found.effect == pytest.approx(0.7)
    assert "the gap to 8 times Glorot's weights = 0.3" in found.why
    assert "the gap at 3 layers = 0" in found.why


def test_a_gap_that_differs_between_seeds_is_inconclusive():
    rows = planted("none", 0.1) + planted("batch", 0.5)
    for row in rows:
        if row["norm"] == "batch" and row["lr"] == BEST:
            row["test_accuracy"] -= 0.12 * row["seed"]
    assert CLAIM.judge(rows, QUICK).outcome == "inconclusive"


def test_four_seeds_are_too_few():
    rows = planted("batch", 0.9, seeds=4) + planted("none", 0.1, seeds=4)
    assert CLAIM.judge(rows, QUICK).outcome == "inconclusive"


@pytest.mark.parametrize(("none", "outcome"), [(0.95, "supported"), (0.1, "refuted")])
def test_the_control_can_fail(none, outcome):
    rows = planted("batch", 0.95, depth=1) + planted("none", none, depth=1)
    assert CLAIM.control.judge(rows, QUICK).outcome == outcome


def test_every_case_of_the_smoke_run_has_each_rate(smoke_rows):
    rows, smoke = smoke_rows("bn-sigmoid"), CLAIM.smoke
    assert len(rows) == smoke.seeds * len(smoke.depths) * len(smoke.lrs) * (1 + len(smoke.scales))
    assert {(row["norm"], row["scale"]) for row in rows} == {("batch", 1.0), ("none", 1.0), ("none", 4.0)}
