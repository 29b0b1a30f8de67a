import math

import pytest

from gainstage.lab.catalogue.initialization import he_variance
from gainstage.lab.catalogue.initialization.he_variance import VARIANCE_FACTOR, slope_variance

CLAIM = he_variance.CLAIM
QUICK = CLAIM.designs["quick"]


def claim_rows(verdict):
    return [row for row in verdict.rows if row["part"] == "claim"]


def test_the_verdict_covers_zero_and_the_control_ln_2(verdicts):
    verdict = verdicts["he-variance"]
    assert verdict.outcome == "supported"
    assert abs(verdict.effect) < QUICK.slope_tolerance
    assert verdict.control.effect == pytest.approx(-math.log(2), abs=QUICK.slope_tolerance)


def test_the_true_variance_falls_to_a_third(verdicts):
    factors = [row["variance_factor"] for row in claim_rows(verdicts["he-variance"]) if row["kind"] == "moments"]
    # closed_form: 1/2 - 1/2π = 0.34085; the mean's own noise dominates, about 1/√(512·512) a seed
    assert factors == pytest.approx([VARIANCE_FACTOR] * len(factors), abs=0.02)
    assert pytest.approx(0.340845, abs=1e-6) == VARIANCE_FACTOR


def test_the_tolerance_is_small_beside_the_control():
    for design in CLAIM.designs.values():
        assert design.slope_tolerance < 0.1 * math.log(2)
        assert design.ratio_tolerance < 0.01


@pytest.mark.parametrize("depth", [30, 100])
def test_slope_variance_is_that_of_a_random_walk(depth):
    # closed_form: Brownian motion of variance s² a step has slope variance 6s²/(5·depth); s² = 5/n
    assert slope_variance(512, depth) == pytest.approx(6 / (512 * depth), rel=0.1)


def moved(rows, column, shift):
    return [{**row, column: row[column] + shift} if column in row else row for row in rows]


@pytest.mark.parametrize(
    ("column", "shift", "outcome"),
    [
        ("slope", 0.0, "supported"),
        ("slope", -math.log(2), "refuted"),
        ("slope", 0.1, "refuted"),
        ("slope", -0.033, "inconclusive"),
        ("slope", math.nan, "inconclusive"),
        ("ratio", VARIANCE_FACTOR - 0.5, "refuted"),
        ("ratio", math.nan, "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(verdicts, column, shift, outcome):
    rows = moved(claim_rows(verdicts["he-variance"]), column, shift)
    assert CLAIM.judge(rows, QUICK).outcome == outcome


def test_four_seeds_are_too_few(verdicts):
    rows = [row for row in claim_rows(verdicts["he-variance"]) if row["seed"] < 4]
    assert CLAIM.judge(rows, QUICK).outcome == "inconclusive"
