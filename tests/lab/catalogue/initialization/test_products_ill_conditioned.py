import math

import pytest

from gainstage.lab.catalogue.initialization import products_ill_conditioned

CLAIM = products_ill_conditioned.CLAIM
QUICK = CLAIM.designs["quick"]


def planted(law, seeds=QUICK.seeds, scatter=0.01):
    return [
        {"seed": seed, "factors": m, "condition": law(m) and law(m) * (1 + scatter * seed)}
        for seed in range(seeds)
        for m in range(1, QUICK.factors + 1)
    ]


@pytest.mark.parametrize(
    ("law", "outcome"),
    [
        (lambda m: 200 * 19.0 ** (m - 1), "supported"),
        # As large at eight factors, but as a power of their number.
        (lambda m: 200 * m**9.9, "refuted"),
        (lambda m: 200.0 * 1.5**m, "refuted"),
        (lambda m: 200.0, "refuted"),
        # Beyond what float64 can tell
        (lambda m: 1e3**m, "inconclusive"),
        (lambda m: 19.0**m if m < 8 else None, "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(law, outcome):
    found = CLAIM.judge(planted(law), QUICK)
    assert found.outcome == outcome


def test_too_few_seeds():
    assert CLAIM.judge(planted(lambda m: 19.0**m, QUICK.seeds - 1), QUICK).outcome == "inconclusive"


@pytest.mark.parametrize(("condition", "outcome"), [(1.0, "supported"), (1.1, "refuted"), (None, "inconclusive")])
def test_the_control_can_fail(condition, outcome):
    rows = [*planted(lambda _: 1.0, scatter=0.0)[1:], {"seed": 0, "factors": 1, "condition": condition}]
    assert CLAIM.control.judge(rows, QUICK).outcome == outcome


def test_theory_gives_growth_well_below_the_floor():
    for design in CLAIM.designs.values():
        log_last = math.log(2 * design.width) + (design.factors - 1) * design.growth
        assert log_last < math.log(4.5e15 / 1000)
    # closed_form: ½(ψ(50) - ψ(1/2)), ψ(50) = 3.901990 from the asymptotic series
    assert pytest.approx(0.5 * (3.901990 + 1.963510), abs=1e-4) == QUICK.growth
