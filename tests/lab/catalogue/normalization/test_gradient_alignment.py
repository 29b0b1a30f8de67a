import math

import pytest

from gainstage.lab.catalogue.normalization.gradient_alignment import CLAIM, CONTROL_INIT

QUICK = CLAIM.designs["quick"]
NET, INIT = QUICK.cases[0][0].label, QUICK.cases[0][1]


def rows(alignment, share, init=INIT, seeds=QUICK.seeds):
    """Both figures larger by so much without the norm, ± 0.05."""
    return [
        {
            "seed": seed, "net": NET, "init": init, "norm": norm,
            "sign_alignment": 0.3 + more * (alignment + 0.05 * (-1) ** seed),
            "top_class_share": 0.3 + more * (share + 0.05 * (-1) ** seed),
        }
        for seed in range(seeds)
        for norm, more in (("none", 1), ("batch", 0))
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("alignment", "share", "outcome"),
    [
        (0.5, 0.5, "supported"),
        (-0.1, 0.5, "refuted"),
        (0.5, -0.1, "refuted"),
        (0.0, 0.5, "inconclusive"),
        (0.5, math.nan, "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(alignment, share, outcome):
    assert CLAIM.judge(rows(alignment, share), QUICK).outcome == outcome


def test_a_figure_that_cannot_be_had_decides_nothing():
    missing = [{**row, "sign_alignment": None} if row["seed"] == 3 else row for row in rows(0.5, 0.5)]
    assert CLAIM.judge(missing, QUICK).outcome == "inconclusive"


@pytest.mark.parametrize(("gap", "outcome"), [(0.0, "supported"), (0.3, "refuted"), (0.1, "inconclusive")])
def test_the_control_must_show_no_gap(gap, outcome):
    assert CLAIM.control.judge(rows(gap, 0.0, init=CONTROL_INIT), QUICK).outcome == outcome


def test_there_are_twenty_seeds_or_more():
    assert all(design.seeds >= 20 for design in CLAIM.designs.values())
