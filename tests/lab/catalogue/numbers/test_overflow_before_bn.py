import math

import pytest

from gainstage.lab.catalogue.numbers import overflow_before_bn

CLAIM = overflow_before_bn.CLAIM
QUICK = CLAIM.designs["quick"]


def planted(log_ratio=0.05, late=0):
    thresholds = [
        {
            "seed": seed, "kind": "threshold", "dtype": "float16", "log_ratio": log_ratio + 0.01 * (seed % 2),
            "in_norm_first": late, "overflows": 12, "log_scale": 3.7,
        }
        for seed in range(5)
    ]  # fmt: skip
    return thresholds + [{"seed": seed, "kind": "norm in half", "log_scale": 1.9} for seed in range(5)]


@pytest.mark.parametrize(
    ("rows", "outcome"),
    [
        (planted(), "supported"),
        (planted(1.3), "refuted"),
        (planted(-0.5), "refuted"),
        (planted(0.145), "inconclusive"),
        (planted(late=1), "refuted"),
        (planted(math.nan), "inconclusive"),
        (planted()[:4], "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(rows, outcome):
    assert CLAIM.judge(rows, QUICK).outcome == outcome


def test_the_control_fails_in_float16():
    assert CLAIM.control.judge(planted(), QUICK).outcome == "refuted"
    finite = [{**row, "overflows": 0} for row in planted()]
    assert CLAIM.control.judge(finite, QUICK).outcome == "supported"


def test_smoke_reaches_the_overflow(smoke_rows):
    ops = {row["op"] for row in smoke_rows(CLAIM.id) if row["kind"] == "scale"}
    assert ops == {None, "product"}
