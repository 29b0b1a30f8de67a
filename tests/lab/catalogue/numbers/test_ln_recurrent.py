import math

import pytest

from gainstage.lab.catalogue.numbers import ln_recurrent

CLAIM = ln_recurrent.CLAIM
QUICK = CLAIM.designs["quick"]


def planted(drift=1e-4, layer=0.0, batch=0.5, seeds=5, growth=0.7):
    rows = []
    for seed in range(seeds):
        for norm in ("none", "layer", "batch"):
            for gain in QUICK.gains:
                worst = gain == 4.0 and norm == "layer"
                slope = (drift if worst else 1e-5) * (1 + 0.1 * seed)
                rows.append({
                    "seed": seed, "kind": "drift", "norm": norm, "activation": "relu", "gain": gain,
                    "state_drift": slope, "state_slope": growth + 0.01 * seed, "gradient_slope": -1.0,
                })  # fmt: skip
            change = {"none": 0.0, "layer": layer, "batch": batch}[norm]
            rows.append({"seed": seed, "kind": "padding", "norm": norm, "change": change})
            rows.append({
                "seed": seed, "kind": "trained", "norm": norm, "accuracy": 0.5, "padded_accuracy": 0.4 - 0.01 * seed,
            })  # fmt: skip
    return rows


def test_flat_is_a_factor_of_two_over_the_sequence():
    assert math.exp(QUICK.flat * QUICK.horizon) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("rows", "outcome"),
    [
        (planted(), "supported"),
        (planted(drift=0.1), "refuted"),
        (planted(drift=QUICK.flat / 1.2), "inconclusive"),
        (planted(layer=1e-6), "refuted"),
        (planted(batch=0.001), "refuted"),
        (planted(drift=math.nan), "inconclusive"),
        (planted(batch=None), "inconclusive"),
        (planted(seeds=4), "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(rows, outcome):
    assert CLAIM.judge(rows, QUICK).outcome == outcome


def test_gradients_and_accuracy_are_told():
    why = CLAIM.judge(planted(), QUICK).why
    assert "gain 4, layer norm, = -1" in why
    assert "test accuracy with batch norm a step = 0.5" in why
    assert "lost with zeros before = 0.12" in why


def test_the_control_fails_where_nothing_grows():
    assert CLAIM.control.judge(planted(), QUICK).outcome == "supported"
    assert CLAIM.control.judge(planted(growth=0.0), QUICK).outcome == "refuted"
