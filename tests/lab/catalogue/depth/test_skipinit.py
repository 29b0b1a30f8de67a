import math

import pytest

from gainstage.lab.catalogue.depth import skipinit

CLAIM = skipinit.CLAIM
QUICK = CLAIM.designs["quick"]
DEEP = QUICK.blocks[-1]


def planted(**accuracies):
    return [
        {"kind": "net", "start": start, "blocks": blocks, "best_accuracy": accuracy, "seed": seed}
        for seed in range(QUICK.seeds)
        for blocks in QUICK.blocks
        for start, accuracy in accuracies.items()
    ]


@pytest.mark.parametrize(
    ("zero", "root", "outcome"),
    [
        (0.9, 0.9, "supported"),
        (0.1, 0.9, "refuted"),
        (0.9, 0.5, "refuted"),
        (0.9, None, "inconclusive"),
        (math.nan, 0.9, "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(zero, root, outcome):
    assert CLAIM.judge(planted(zero=zero, root=root), QUICK).outcome == outcome


def test_seeds_that_disagree_are_inconclusive():
    rows = planted(zero=0.95, root=0.95)
    rows = [{**row, "best_accuracy": 0.1} if row["seed"] == 0 and row["blocks"] == DEEP else row for row in rows]
    assert CLAIM.judge(rows, QUICK).outcome == "inconclusive"


def test_shallow_nets_do_not_decide():
    rows = planted(zero=0.95, root=0.95)
    rows = [row if row["blocks"] == DEEP else {**row, "best_accuracy": 0.1} for row in rows]
    assert CLAIM.judge(rows, QUICK).outcome == "supported"


@pytest.mark.parametrize(("one", "outcome"), [(0.1, "supported"), (0.9, "refuted"), (None, "inconclusive")])
def test_the_control_must_fail_to_train(one, outcome):
    assert CLAIM.control.judge(planted(one=one), QUICK).outcome == outcome
