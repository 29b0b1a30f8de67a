import math

import pytest

from gainstage.lab.catalogue.numbers import ln_batch_independent

CLAIM = ln_batch_independent.CLAIM
QUICK = CLAIM.designs["quick"]


def planted(layer=0.0, batch=0.5, leak=0.2):
    return [
        {"seed": seed, "norm": norm, "output_change": change, "leak": leak if norm == "batch" else 0.0}
        for seed in range(5)
        for norm, change in (("layer", layer), ("batch", batch))
    ]


@pytest.mark.parametrize(
    ("rows", "outcome"),
    [
        (planted(), "supported"),
        (planted(layer=1e-9), "refuted"),
        (planted(batch=0.001), "refuted"),
        (planted(leak=0.0), "refuted"),
        (planted(layer=math.nan), "inconclusive"),
        (planted(batch=None), "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(rows, outcome):
    assert CLAIM.judge(rows, QUICK).outcome == outcome


def test_one_planted_dependence_is_enough():
    rows = planted()
    rows[6]["leak"] = 1e-3
    assert CLAIM.judge(rows, QUICK).outcome == "refuted"


def test_the_control_fails_in_training_mode(smoke_rows):
    assert CLAIM.control.judge(smoke_rows(CLAIM.id, "control"), QUICK).outcome == "supported"
    assert CLAIM.control.judge(smoke_rows(CLAIM.id), QUICK).outcome == "refuted"
