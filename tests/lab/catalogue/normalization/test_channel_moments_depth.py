import math

import pytest

from gainstage.lab.catalogue.normalization.channel_moments_depth import CLAIM, CONTROL_INIT, EXPONENTIAL
from gainstage.lab.measurements.normalization.channel_moments_depth import slope

QUICK = CLAIM.designs["quick"]
NET, INIT = QUICK.cases[0][0].label, QUICK.cases[0][1]


def rows(none, batch, mean=None, init=INIT):
    """Slopes of both moments (or another of the means without the norm), ± 0.01."""
    return [
        {
            "seed": seed, "net": NET, "init": init, "norm": norm,
            "variance_slope": value + 0.01 * (-1) ** seed,
            "mean_slope": (value if mean is None or norm == "batch" else mean) + 0.01 * (-1) ** seed,
        }
        for seed in range(QUICK.seeds)
        for norm, value in (("none", none), ("batch", batch))
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("none", "batch", "mean", "outcome"),
    [
        (math.log(2), 0.03, None, "supported"),
        (math.log(2), -0.3, None, "supported"),  # falling moments do not grow faster than linearly
        (0.03, 0.03, None, "refuted"),  # linear growth is not exponential
        (0.2, 0.03, None, "refuted"),  # nor is the third power of the depth
        (math.log(2), 0.16, None, "refuted"),  # about the third power
        (math.log(2), 0.03, 0.0, "refuted"),  # the variances grow, the means do not
        (math.log(2), QUICK.square, None, "inconclusive"),
        (EXPONENTIAL, 0.03, None, "inconclusive"),
        (math.nan, 0.03, None, "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(none, batch, mean, outcome):
    assert CLAIM.judge(rows(none, batch, mean), QUICK).outcome == outcome


def test_no_linear_growth_is_steeper_than_the_limit():
    places = range(1, QUICK.blocks + 1)
    assert slope([float(place) for place in places]) == pytest.approx(QUICK.linear)
    starts = [slope([start + place for place in places]) for start in (0.01, 1.0, 10.0)]
    assert QUICK.linear > starts[0] > starts[1] > starts[2]
    assert QUICK.linear == pytest.approx(3 / QUICK.blocks, rel=0.15)
    # closed_form: a power p has p times the slope
    assert slope([place**6.0 for place in places]) == pytest.approx(EXPONENTIAL, rel=0.15)


@pytest.mark.parametrize(("none", "outcome"), [(0.0, "supported"), (0.7, "refuted"), (QUICK.square, "inconclusive")])
def test_the_control_must_grow_slower_than_the_square(none, outcome):
    assert CLAIM.control.judge(rows(none, 0.0, init=CONTROL_INIT), QUICK).outcome == outcome
