import math

import pytest

from gainstage.lab.catalogue.normalization.channel_moments_depth import CLAIM, CONTROL_INIT
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
        (math.log(2), 0.05, None, "supported"),
        (0.05, 0.05, None, "refuted"),  # linear growth is not exponential
        (math.log(2), 0.3, None, "refuted"),
        (math.log(2), -0.3, None, "refuted"),
        (math.log(2), 0.05, 0.0, "refuted"),  # the variances grow, the means do not
        (math.log(2), QUICK.limit, None, "inconclusive"),
        (math.nan, 0.05, None, "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(none, batch, mean, outcome):
    assert CLAIM.judge(rows(none, batch, mean), QUICK).outcome == outcome


def test_the_limit_is_twice_what_linear_growth_gives():
    # closed_form: 3/L for large L; from 1 it starts a little lower
    assert slope([float(place) for place in range(1, QUICK.blocks + 1)]) == pytest.approx(QUICK.limit / 2, rel=0.15)


@pytest.mark.parametrize(("none", "outcome"), [(0.0, "supported"), (0.7, "refuted"), (QUICK.limit, "inconclusive")])
def test_the_control_must_stay(none, outcome):
    assert CLAIM.control.judge(rows(none, 0.0, init=CONTROL_INIT), QUICK).outcome == outcome
