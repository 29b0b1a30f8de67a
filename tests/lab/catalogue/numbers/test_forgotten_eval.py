import math

import pytest

from gainstage.lab.catalogue.numbers import forgotten_eval
from gainstage.lab.catalogue.numbers.forgotten_eval import LARGE, SHUFFLED, SMALL, SORTED

CLAIM = forgotten_eval.CLAIM
QUICK = CLAIM.designs["quick"]


def planted(small=0.8, large=0.95, ordered=0.4, changed=0.2, seeds=8, wobble=0.004):
    rows = []
    for seed in range(seeds):
        shift = wobble * (seed % 2)
        used = [(SMALL, SHUFFLED, small), (SMALL, SORTED, ordered), (LARGE, SHUFFLED, large), (LARGE, SORTED, ordered)]
        rows.append({"seed": seed, "kind": "used", "mode": "eval", "accuracy": 0.95 + shift})
        rows.append({"seed": seed, "kind": "never updated", "mode": "eval", "accuracy": 0.8})
        rows += [
            {
                "seed": seed, "kind": "used", "mode": "train", "batch": batch, "order": order, "accuracy": accuracy,
                "changed": changed, "refused": False,
            }
            for batch, order, accuracy in used
        ]  # fmt: skip
    return rows


@pytest.mark.parametrize(
    ("rows", "outcome"),
    [
        (planted(), "supported"),
        (planted(small=0.95), "refuted"),
        (planted(small=0.99), "refuted"),
        (planted(ordered=0.95), "refuted"),
        (planted(changed=0.0), "refuted"),
        (planted(small=0.942), "inconclusive"),
        (planted(small=math.nan), "inconclusive"),
        (planted(changed=None), "inconclusive"),
        (planted(seeds=7), "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(rows, outcome):
    assert CLAIM.judge(rows, QUICK).outcome == outcome


def test_large_shuffled_batches_are_told_but_not_judged():
    found = CLAIM.judge(planted(large=1.0), QUICK)
    assert found.outcome == "supported"
    assert f"in batches of {LARGE}, {SHUFFLED}, the loss = -0.048" in found.why


def test_the_control_fails_where_the_modes_differ():
    same = planted(0.95, 0.95, 0.95, wobble=0.0)
    assert CLAIM.control.judge(same, QUICK).outcome == "supported"
    assert CLAIM.control.judge(planted(), QUICK).outcome == "refuted"
    assert CLAIM.control.judge(planted()[:6], QUICK).outcome == "inconclusive"
