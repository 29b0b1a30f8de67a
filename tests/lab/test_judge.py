import math

import numpy as np
import pytest

from gainstage.lab import judge

TRUE = [0.9, 1.1, 1.0, 1.2, 0.8]
NULL = [0.9, -1.1, 1.0, -1.2, 0.3]
REVERSED = [-value for value in TRUE]


@pytest.mark.parametrize(
    ("values", "side", "limit", "outcome"),
    [
        (TRUE, "above", 0.0, "supported"),
        (TRUE, "below", 0.0, "refuted"),
        (REVERSED, "above", 0.0, "refuted"),
        (REVERSED, "below", 0.0, "supported"),
        (NULL, "above", 0.0, "inconclusive"),
        (TRUE, "above", 1.0, "inconclusive"),
        (TRUE, "above", 2.0, "refuted"),
        (TRUE[:4], "above", 0.0, "inconclusive"),
        ([*TRUE[:4], math.nan], "above", 0.0, "inconclusive"),
        ([*TRUE, math.inf], "above", 0.0, "inconclusive"),
        ([], "above", 0.0, "inconclusive"),
    ],
)
def test_one_sided_on_planted_figures(values, side, limit, outcome):
    assert judge.one_sided(values, name="gap", seeds=5, side=side, limit=limit).outcome == outcome


def test_the_interval_is_students():
    # closed_form: mean 3, s²= 2.5, t(.975, 4) = 2.776445, half-width 2.776445·√(2.5/5) = 1.963243
    found = judge.one_sided([1, 2, 3, 4, 5], name="gap", seeds=5, side="above")
    assert (found.effect, found.n) == (3.0, 5)
    assert found.interval == pytest.approx((1.036757, 4.963243), abs=1e-6)


@pytest.mark.parametrize(
    ("values", "target", "tolerance", "outcome"),
    [
        (TRUE, 1.0, 0.3, "supported"),
        (TRUE, 1.0, 0.1, "inconclusive"),
        (TRUE, 2.0, 0.3, "refuted"),
        (TRUE, 0.0, 0.3, "refuted"),
        (NULL, 0.0, 0.1, "inconclusive"),
        (TRUE[:4], 1.0, 0.3, "inconclusive"),
        ([*TRUE, math.nan], 1.0, 0.3, "inconclusive"),
    ],
)
def test_equality_on_planted_figures(values, target, tolerance, outcome):
    found = judge.equality(values, name="slope", seeds=5, target=target, tolerance=tolerance)
    assert found.outcome == outcome


@pytest.mark.parametrize(
    ("errors", "outcome"),
    [
        ([1e-12, 1e-10], "supported"),
        ([1e-12, 1e-3], "refuted"),
        ([math.nan], "inconclusive"),
        ([], "inconclusive"),
    ],
)
def test_identity_by_the_largest_error(errors, outcome):
    found = judge.identity(errors, name="error", tolerance=1e-9)
    assert found.outcome == outcome
    if errors and outcome != "inconclusive":
        assert found.interval == (max(errors), max(errors))


@pytest.mark.parametrize(
    ("excesses", "outcome"),
    [([-1.0, 0.0], "supported"), ([-1.0, 0.5], "refuted"), ([-1.0, math.nan], "inconclusive")],
)
def test_bound_falls_with_one_violation(excesses, outcome):
    assert judge.bound(excesses, name="left ≤ right", tolerance=1e-9).outcome == outcome


def test_the_reason_is_said_in_words():
    assert judge.one_sided(TRUE[:2], name="gap", seeds=5, side="above").why == (
        "Too few figures of gap: the design asks for 5, there are 2."
    )
    assert judge.identity([math.nan, 0.0], name="error", tolerance=1e-9).why == (
        "1 of 2 figures of error are not finite."
    )
    assert (
        "lies wholly below 0; above was predicted" in judge.one_sided(REVERSED, name="gap", seeds=5, side="above").why
    )


def plain(outcome, why="reason."):
    return judge.Judgement(outcome, 1.0, (0.5, 1.5), 5, why)


@pytest.mark.parametrize(
    ("outcomes", "combined"),
    [
        (("supported", "supported"), "supported"),
        (("supported", "inconclusive"), "inconclusive"),
        (("inconclusive", "refuted", "supported"), "refuted"),
    ],
)
def test_combine_takes_the_worst(outcomes, combined):
    assert judge.combine(*map(plain, outcomes)).outcome == combined


@pytest.mark.parametrize("outcome", ["supported", "refuted"])
@pytest.mark.parametrize(("control", "told"), [("refuted", "failed"), ("inconclusive", "is undecided")])
def test_a_control_that_does_not_hold_makes_any_outcome_inconclusive(outcome, control, told):
    found = judge.with_control(plain(outcome, "Effect seen."), plain(control, "It did not."), "It must vanish.")
    assert found.outcome == "inconclusive"
    assert found.why == f"The control {told} (It must vanish. It did not.), so nothing follows from: Effect seen."
    assert judge.with_control(plain(outcome), plain("supported"), "").outcome == outcome


ROWS = [
    {"seed": 1, "norm": "bn", "accuracy": 0.9},
    {"seed": 0, "norm": "bn", "accuracy": 0.7},
    {"seed": 0, "norm": "bn", "accuracy": 0.9},
    {"seed": 0, "norm": "none", "accuracy": 0.5},
    {"seed": 1, "norm": "none", "accuracy": None},
    {"seed": 2, "norm": "none", "accuracy": 0.4},
    {"seed": 2, "norm": "none"},
]


def test_figures_are_paired_by_seed():
    assert judge.per_seed(ROWS, "accuracy", norm="bn") == pytest.approx({0: 0.8, 1: 0.9})
    assert judge.worst_per_seed(ROWS, "accuracy", norm="bn") == {0: 0.9, 1: 0.9}
    assert math.isnan(judge.worst_per_seed(ROWS, "accuracy")[1])
    differences = judge.paired_differences(ROWS, "accuracy", "norm", "bn", "none")
    assert differences[0] == pytest.approx(0.3)
    assert [math.isnan(value) for value in differences] == [False, True, True]


def test_described_says_when_there_is_nothing():
    assert judge.described([], "rate") == "rate could not be measured"
    assert judge.described([math.nan], "rate") == "rate could not be measured"
    assert judge.described([1.0, 1.0], "rate") == "rate = 1, 95 % interval [1, 1] over 2 seeds"


def test_a_grid_hides_what_lies_between_its_points():
    values = [0.5] * 6
    assert judge.one_sided(values, name="x", seeds=6, side="above").outcome == "supported"
    assert judge.one_sided(values, name="x", seeds=6, side="above", resolution=0.5).outcome == "supported"
    # closed_form: t(5) = 2.5706, 2.5706·2/√(12·6) = 0.606: wider than the mean is large
    found = judge.one_sided(values, name="x", seeds=6, side="above", resolution=2.0)
    assert found.outcome == "inconclusive"
    assert found.interval == pytest.approx((0.5 - 0.6059, 0.5 + 0.6059), abs=1e-3)
    assert (
        judge.equality([0.0] * 6, name="x", seeds=6, target=0.0, tolerance=0.5, resolution=2.0).outcome != "supported"
    )


@pytest.mark.parametrize(
    ("draw", "resolution", "most"),
    [
        (lambda rng, n: rng.normal(size=n), 0.0, 0.035),
        (lambda rng, n: rng.standard_t(3, size=n), 0.0, 0.03),
        (lambda rng, n: np.round(rng.normal(size=n)), 1.0, 0.03),
        (lambda rng, n: rng.choice([-0.5, 2.0], size=n, p=[0.8, 0.2]), 2.5, 0.01),
    ],
)
def test_nothing_is_rarely_taken_for_something(draw, resolution, most):
    # 2.5 % on each side for normal figures; two thousand experiments know it to 0.35 % (one standard error)
    rng, count = np.random.default_rng(0), 2000
    judged = [
        judge.one_sided(list(draw(rng, 5)), name="x", seeds=5, side="above", resolution=resolution).outcome
        for _ in range(count)
    ]
    assert judged.count("supported") / count <= most
    assert judged.count("refuted") / count <= most
    assert judged.count("inconclusive") / count > 0.9


def test_no_direction_is_a_difference_or_none():
    planted = {0.0: "refuted", 2.0: "supported", -2.0: "supported", 1.0: "inconclusive"}
    for shift, outcome in planted.items():
        values = [shift + wiggle for wiggle in (-0.1, 0.0, 0.05, 0.1, -0.05)]
        assert judge.differs(values, name="x", seeds=5, tolerance=1.0).outcome == outcome
