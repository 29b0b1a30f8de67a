import math

import pytest

from gainstage.lab.catalogue.normalization import bn_saturation

CLAIM = bn_saturation.CLAIM
QUICK = CLAIM.designs["quick"]


def planted(norm, share, *, activation=None, scale=None, seeds=QUICK.seeds):
    return [
        {
            "seed": seed, "activation": name, "norm": norm, "scale": a, "step": step, "layer": layer,
            "share": None if share is None else share + 0.001 * seed * layer, "test_accuracy": 0.5,
        }
        for name in ([activation] if activation else ["sigmoid", "tanh"])
        for a in (QUICK.scales if scale is None else [scale])
        for seed in range(seeds) for step in QUICK.looks for layer in range(1, QUICK.depth + 1)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("none", "batch", "outcome"),
    [
        (0.5, 0.1, "supported"),
        (0.1, 0.1, "refuted"),
        (0.1, 0.5, "refuted"),
        (0.14, 0.1, "refuted"),
        (None, 0.1, "inconclusive"),
        (0.5, math.nan, "inconclusive"),
    ],
)
def test_the_judge_on_planted_shares(none, batch, outcome):
    assert CLAIM.judge(planted("none", none) + planted("batch", batch), QUICK).outcome == outcome


def test_seeds_that_disagree_are_inconclusive():
    rows = planted("none", 0.5) + planted("batch", 0.3)
    for row in rows:
        if row["norm"] == "batch":
            row["share"] += 0.1 * row["seed"]
    assert CLAIM.judge(rows, QUICK).outcome == "inconclusive"


def test_both_activations_must_hold():
    rows = planted("none", 0.5) + planted("batch", 0.1, activation="tanh") + planted("batch", 0.5, activation="sigmoid")
    assert CLAIM.judge(rows, QUICK).outcome == "refuted"


def test_the_effect_is_the_sigmoid_s_mean_over_large_scales_and_the_reason_tells_each():
    rows = planted("batch", 0.2)
    rows += [
        row
        for a, share in zip(QUICK.scales, (0.0, 0.1, 0.5, 0.9), strict=True)
        for row in planted("none", share, scale=a)
    ]
    found = CLAIM.judge(rows, QUICK)
    assert found.outcome == "supported"
    assert found.effect == pytest.approx(0.5)
    assert "sigmoid, a = 10: spared = 0.7" in found.why
    assert "tanh, a = 0.3: spared = -0.2" in found.why
    for a in (0.3, 1):
        assert f"At a = {a} alone, which does not count here, the same would be refuted" in found.why


@pytest.mark.parametrize(("gamma", "outcome"), [(0.5, "supported"), (0.7, "supported"), (0.1, "refuted")])
def test_the_control_can_fail(gamma, outcome):
    assert CLAIM.control.judge(planted("none", 0.5) + planted("gamma", gamma), QUICK).outcome == outcome
