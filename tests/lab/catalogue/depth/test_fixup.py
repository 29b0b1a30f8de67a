import math

import pytest

from gainstage.lab.catalogue.depth import fixup

CLAIM = fixup.CLAIM
QUICK = CLAIM.designs["quick"]


def planted(**accuracies):
    return [
        {"kind": "net", "net": net, "blocks": QUICK.blocks[-1], "best_accuracy": accuracy, "seed": seed}
        for seed in range(QUICK.seeds)
        for net, accuracy in accuracies.items()
    ]


@pytest.mark.parametrize(
    ("own", "normed", "outcome"),
    [
        (0.95, 0.95, "supported"),
        (0.95, 0.80, "supported"),
        (0.90, 0.95, "refuted"),
        (0.50, 0.50, "refuted"),
        (None, 0.95, "inconclusive"),
        (0.95, math.nan, "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(own, normed, outcome):
    assert CLAIM.judge(planted(fixup=own, batch=normed), QUICK).outcome == outcome


def test_gaps_on_both_sides_of_the_limit_are_inconclusive():
    rows = planted(fixup=0.95, batch=0.95)
    for row in rows:
        if row["net"] == "fixup":
            row["best_accuracy"] -= 0.05 * (row["seed"] % 2)
    assert CLAIM.judge(rows, QUICK).outcome == "inconclusive"


@pytest.mark.parametrize(("he", "outcome"), [(0.1, "supported"), (0.9, "refuted"), (None, "inconclusive")])
def test_the_control_must_fail_to_train(he, outcome):
    assert CLAIM.control.judge(planted(he=he), QUICK).outcome == outcome
