import math
from dataclasses import replace

import pytest

from gainstage.lab.catalogue.initialization import delta_orthogonal_depth

CLAIM = delta_orthogonal_depth.CLAIM
QUICK = CLAIM.designs["quick"]
TRAINED = replace(QUICK, train_depth=100)


def planted(draw, signal, gradient, accuracy=None, seeds=QUICK.seeds):
    figures = {"chi": 1.0, "distance_change": -0.3, "train_accuracy": accuracy}
    return [
        {
            "seed": seed,
            "kind": "net",
            "draw": draw,
            "signal_excursion": signal,
            "gradient_excursion": gradient,
            **figures,
        }
        for seed in range(seeds)
    ]


@pytest.mark.parametrize(
    ("signal", "gradient", "outcome"),
    [
        (0.2, 0.3, "supported"),
        (0.2, 9.0, "refuted"),
        (9.0, 0.3, "refuted"),
        (0.2, math.log(10), "inconclusive"),
        (math.nan, 0.3, "inconclusive"),
        (0.2, None, "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(signal, gradient, outcome):
    assert CLAIM.judge(planted("delta", signal, gradient), QUICK).outcome == outcome


@pytest.mark.parametrize(("accuracy", "outcome"), [(0.9, "supported"), (0.1, "refuted"), (None, "inconclusive")])
def test_trained_networks_must_learn_too(accuracy, outcome):
    assert CLAIM.judge(planted("delta", 0.2, 0.3, accuracy), TRAINED).outcome == outcome


@pytest.mark.parametrize(
    ("gradient", "accuracy", "design", "outcome"),
    [
        (7.0, None, QUICK, "supported"),
        (0.3, None, QUICK, "refuted"),
        (7.0, 0.1, TRAINED, "supported"),
        (0.3, 0.1, TRAINED, "refuted"),
    ],
)
def test_the_control_can_fail(gradient, accuracy, design, outcome):
    assert CLAIM.control.judge(planted("gaussian", 2.0, gradient, accuracy), design).outcome == outcome


def test_too_few_seeds():
    assert CLAIM.judge(planted("delta", 0.2, 0.3, seeds=QUICK.seeds - 1), QUICK).outcome == "inconclusive"
