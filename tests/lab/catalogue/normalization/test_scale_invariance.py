import math

import pytest

from gainstage.lab.catalogue.normalization import scale_invariance
from gainstage.lab.catalogue.normalization.scale_invariance import ERRORS, STANDARD_EPS


def test_the_verdict_is_exact(verdicts):
    verdict = verdicts["scale-invariance"]
    assert verdict.outcome == "supported"
    assert verdict.effect < 1e-12
    assert verdict.interval == (verdict.effect, verdict.effect)
    assert verdict.n == 5


@pytest.mark.parametrize("scale", [1e-4, 10**-2.5, 1e-1])
def test_the_standard_eps_shrinks_the_output_as_predicted(verdicts, scale):
    # closed_form: each unit is scaled by 1/√(1 + ε/(a²σ²)), σ = 1 at a = 1, against the same at a = 1
    expected = 1 - math.sqrt(1 + STANDARD_EPS) / math.sqrt(1 + STANDARD_EPS / scale**2)
    rows = [row for row in verdicts["scale-invariance"].rows if row["eps"] == STANDARD_EPS]
    found = [row["output_error"] for row in rows if row["scale"] == pytest.approx(scale)]
    assert len(found) == 5
    assert found == pytest.approx([expected] * 5, rel=1e-9)


def test_a_range_below_eps_is_reported(verdicts):
    assert "off by 29% at a = 0.0032" in verdicts["scale-invariance"].why


@pytest.mark.parametrize("column", list(ERRORS))
@pytest.mark.parametrize(("error", "outcome"), [(1e-6, "refuted"), (math.nan, "inconclusive")])
def test_one_planted_error_is_enough(verdicts, column, error, outcome):
    claim = scale_invariance.CLAIM
    rows = [dict(row) for row in verdicts["scale-invariance"].rows if row["part"] == "claim"]
    rows[7][column] = error
    assert claim.judge(rows, claim.designs["quick"]).outcome == outcome


def test_the_control_fails_on_a_normalized_layer(verdicts):
    claim = scale_invariance.CLAIM
    rows = [row for row in verdicts["scale-invariance"].rows if row["part"] == "claim"]
    assert claim.control.judge(rows, claim.designs["quick"]).outcome == "refuted"
