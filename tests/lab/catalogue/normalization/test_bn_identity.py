import math

import pytest

from gainstage.lab.catalogue.normalization import bn_identity

CLAIM = bn_identity.CLAIM
QUICK = CLAIM.designs["quick"]


def part(verdict, name):
    return [dict(row) for row in verdict.rows if row["part"] == name]


def test_the_verdict_is_exact(verdicts):
    verdict = verdicts["bn-identity"]
    assert verdict.outcome == "supported"
    assert verdict.effect < 1e-12
    assert verdict.interval == (verdict.effect, verdict.effect)
    assert verdict.control.outcome == "supported"


def test_it_reports_what_eps_costs_and_that_evaluation_mode_is_exact(verdicts):
    rows = part(verdicts["bn-identity"], "claim")
    largest = {(row["how"], row["activation"]): row["error"] for row in rows if row["seed"] == 0}
    # closed_form: a layer shrinks by about ε/2σ²; σ² is near 1 in the ReLU network, and in the sigmoid one it falls to
    # about (1/16)^4 = 1e-5 in the fifth layer
    assert 1e-6 < largest["standard", "relu"] < 1e-3
    assert 0.1 < largest["standard", "sigmoid"] < 1
    assert max(error for (how, _), error in largest.items() if how in ("corrected", "frozen")) < 1e-10
    assert "Not judged" in verdicts["bn-identity"].why


@pytest.mark.parametrize(
    ("error", "outcome"), [(1e-6, "refuted"), (1e-10, "supported"), (math.nan, "inconclusive"), (None, "inconclusive")]
)
def test_one_planted_error_is_enough(verdicts, error, outcome):
    rows = part(verdicts["bn-identity"], "claim")
    next(row for row in rows if row["how"] == "undone" and row["seed"] == 3)["error"] = error
    assert CLAIM.judge(rows, QUICK).outcome == outcome


def test_an_error_with_the_standard_eps_is_not_judged(verdicts):
    rows = [
        {**row, "error": 1.0} if row["how"] == "standard" else row for row in part(verdicts["bn-identity"], "claim")
    ]
    assert CLAIM.judge(rows, QUICK).outcome == "supported"


def test_the_control_fails_if_one_network_stays_the_same(verdicts):
    rows = part(verdicts["bn-identity"], "control")
    rows[4]["error"] = 1e-9
    assert CLAIM.control.judge(rows, QUICK).outcome == "refuted"
