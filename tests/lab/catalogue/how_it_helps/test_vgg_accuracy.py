import math

import pytest

from gainstage import lab
from gainstage.lab.catalogue.how_it_helps.vgg_accuracy import CLAIM

FULL = CLAIM.designs["full"]


def planted(batch, none):
    return [
        {"seed": seed, "norm": norm, "test_accuracy": accuracy and accuracy + 0.001 * (seed % 3) * (norm == "batch")}
        for norm, accuracy in (("batch", batch), ("none", none))
        for seed in range(10)
    ]


def test_quick_is_not_run_and_says_why():
    verdict = lab.run("vgg-accuracy")
    assert verdict.outcome == "not-run"
    assert "full" in verdict.why


@pytest.mark.parametrize(
    ("batch", "none", "outcome"),
    [
        (0.83, 0.80, "supported"),
        # A VGG that diverges without BN has the accuracy of chance.
        (0.83, 0.10, "supported"),
        (0.80, 0.83, "refuted"),
        (0.80, 0.80, "refuted"),
        (0.809, 0.80, "inconclusive"),
        (0.83, math.nan, "inconclusive"),
        (None, 0.80, "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(batch, none, outcome):
    assert CLAIM.judge(planted(batch, none), FULL).outcome == outcome


@pytest.mark.parametrize(("batch", "outcome"), [(0.1, "supported"), (0.2, "refuted"), (0.05, "refuted")])
def test_the_control_must_not_differ(batch, outcome):
    assert CLAIM.control.judge(planted(batch, 0.1), FULL).outcome == outcome


def test_the_papers_figures_stand_beside_those_measured():
    why = CLAIM.judge(planted(0.83, 0.80), FULL).why
    assert "(paper: 0.83)" in why
    assert "(paper: 0.80)" in why
