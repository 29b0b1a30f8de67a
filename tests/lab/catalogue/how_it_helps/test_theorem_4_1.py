import math

import pytest

from gainstage.lab.catalogue.how_it_helps.theorem_4_1 import CLAIM

QUICK = CLAIM.designs["quick"]


def test_the_verdict_is_exact(verdicts):
    verdict = verdicts["theorem-4-1"]
    assert verdict.outcome == "supported"
    assert abs(verdict.effect) < QUICK.tolerance
    assert "it is an equality" in verdict.why


@pytest.mark.parametrize(
    ("excess", "outcome"), [(-0.1, "supported"), (1e-6, "refuted"), (math.nan, "inconclusive"), (None, "inconclusive")]
)
def test_one_planted_excess_is_enough(smoke_rows, excess, outcome):
    rows = [dict(row) for row in smoke_rows("theorem-4-1")]
    rows[3]["excess"] = excess
    assert CLAIM.judge(rows, QUICK).outcome == outcome


@pytest.mark.parametrize(("excess", "outcome"), [(0.2, "supported"), (0.0, "refuted"), (math.nan, "inconclusive")])
def test_the_control_must_fail_for_every_unit(smoke_rows, excess, outcome):
    rows = [dict(row) for row in smoke_rows("theorem-4-1", "control")]
    rows[0]["least_excess"] = excess
    assert CLAIM.control.judge(rows, QUICK).outcome == outcome
