import math

import pytest

from gainstage.lab.catalogue.initialization import symmetry_breaking

CLAIM = symmetry_breaking.CLAIM
QUICK = CLAIM.designs["quick"]


@pytest.mark.parametrize(
    ("asymmetry", "outcome"),
    [
        (0.0, "supported"),
        (1e-12, "supported"),
        (1e-3, "refuted"),
        (math.nan, "inconclusive"),
        (None, "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(asymmetry, outcome):
    rows = [{"seed": seed, "case": "equal", "step": 0, "asymmetry": 0.0} for seed in range(5)]
    rows.append({"seed": 4, "case": "equal", "step": 75, "asymmetry": asymmetry})
    assert CLAIM.judge(rows, QUICK).outcome == outcome


def test_other_starts_are_not_judged(smoke_rows):
    rows = [{**row, "asymmetry": 1.0} if row["case"] == "cosine" else row for row in smoke_rows("symmetry-breaking")]
    assert CLAIM.judge(rows, QUICK).outcome == "supported"


@pytest.mark.parametrize(
    ("rank", "outcome"), [(32, "supported"), (1, "inconclusive"), (0, "refuted"), (None, "inconclusive")]
)
def test_the_control_can_fail(rank, outcome):
    rows = [{"seed": seed, "case": "random", "step": QUICK.steps, "rank": rank} for seed in range(5)]
    assert CLAIM.control.judge(rows, QUICK).outcome == outcome
