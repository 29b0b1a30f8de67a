import math

import pytest

from gainstage.lab.catalogue.normalization import large_init_first_layer

CLAIM = large_init_first_layer.CLAIM
QUICK = CLAIM.designs["quick"]


def planted(norms, slope, *, activation=None, seeds=QUICK.seeds):
    """‖∂L/∂W₁‖ = a^slope."""
    return [
        {
            "seed": seed, "activation": name, "norms": norms, "scale": a,
            "log_gradient": None if slope is None else slope * math.log10(a) + 0.01 * seed, "log_through": 0.0,
        }
        for name in ([activation] if activation else ["sigmoid", "relu"])
        for seed in range(seeds) for a in QUICK.scales
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("every", "first", "outcome"),
    [
        (0.0, 2.0, "supported"),
        (-1.0, 0.6, "supported"),
        (0.0, 0.4, "refuted"),
        (0.6, 2.0, "refuted"),
        (0.5, 2.0, "inconclusive"),
        (None, 2.0, "inconclusive"),
        (0.0, math.nan, "inconclusive"),
    ],
)
def test_the_judge_on_planted_slopes(every, first, outcome):
    rows = planted("every", every) + planted("first", first) + planted("none", 1.0)
    assert CLAIM.judge(rows, QUICK).outcome == outcome


def test_one_activation_is_enough_to_refute():
    rows = (
        planted("every", 0.0) + planted("first", 2.0, activation="relu") + planted("first", 0.0, activation="sigmoid")
    )
    assert CLAIM.judge(rows, QUICK).outcome == "refuted"


def test_an_explosion_in_the_middle_of_the_range_counts():
    rows = planted("every", 0.0) + planted("first", 2.0)
    for row in rows:
        if row["norms"] == "every" and 9 < row["scale"] < 11:
            row["log_gradient"] += 3
    assert CLAIM.judge(rows, QUICK).outcome == "refuted"


def test_the_effect_is_the_sigmoid_network_s_growth():
    rows = planted("every", 0.0) + planted("first", 2.0)
    assert CLAIM.judge(rows, QUICK).effect == pytest.approx(4.0)


@pytest.mark.parametrize(("slope", "outcome"), [(-1.0, "supported"), (0.0, "refuted"), (-0.8, "refuted")])
def test_the_control_can_fail(slope, outcome):
    assert CLAIM.control.judge(planted("first", slope), QUICK).outcome == outcome
