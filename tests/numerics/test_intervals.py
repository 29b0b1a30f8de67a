import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gainstage.errors import InputError
from gainstage.numerics import bootstrap_interval, paired_interval, student_t_quantile

# Student's t as printed in any table, to more digits where a closed form gives them.
QUANTILES = [
    ("paper", 0.975, 1, 12.706205, 1e-6),
    ("paper", 0.975, 2, 4.302653, 1e-6),
    ("paper", 0.975, 4, 2.776445, 1e-6),
    ("paper", 0.975, 9, 2.262157, 1e-6),
    ("paper", 0.975, 30, 2.042272, 1e-6),
    ("paper", 0.95, 10, 1.8125, 5e-5),
    ("paper", 0.995, 120, 2.6174, 5e-5),
    ("closed_form", 0.975, 1, math.tan(0.475 * math.pi), 1e-9),
    ("closed_form", 0.975, 2, 0.95 * math.sqrt(2 / (1 - 0.95**2)), 1e-9),
    ("closed_form", 0.999999, 1, math.tan(0.499999 * math.pi), 1e-3),
    ("closed_form", 0.975, 1e7, 1.959963984540054, 1e-6),
]

finite = st.lists(st.floats(-1e3, 1e3, allow_subnormal=False), min_size=2, max_size=12)


@pytest.mark.parametrize(("kind", "probability", "degrees", "value", "tolerance"), QUANTILES)
def test_student_t(kind, probability, degrees, value, tolerance):
    assert kind in ("paper", "closed_form")
    assert student_t_quantile(probability, degrees) == pytest.approx(value, abs=tolerance)
    mirrored = student_t_quantile(1 - probability, degrees)
    assert mirrored == pytest.approx(-student_t_quantile(probability, degrees), rel=1e-8)


def test_student_t_median_is_zero():
    assert student_t_quantile(0.5, 3) == 0.0


@given(values=finite, confidence=st.floats(0.5, 0.99))
def test_paired_interval_holds_its_mean_and_grows_with_confidence(values, confidence):
    narrow, wide = paired_interval(values, confidence), paired_interval(values, (1 + confidence) / 2)
    assert wide.low <= narrow.low <= narrow.mean <= narrow.high <= wide.high
    assert narrow.n == len(values)


@given(values=finite, shift=st.floats(-100, 100, allow_subnormal=False))
def test_paired_interval_moves_with_its_values(values, shift):
    here, there = paired_interval(values), paired_interval([value + shift for value in values])
    assert there.low == pytest.approx(here.low + shift, abs=1e-6)


def test_paired_interval_covers_as_often_as_it_says():
    generator = np.random.default_rng(3)
    runs = 2000
    hits = sum(not paired_interval(row).excludes_zero for row in generator.normal(size=(runs, 5)))
    # Four standard errors of a binomial share.
    assert abs(hits / runs - 0.95) < 4 * math.sqrt(0.95 * 0.05 / runs)


def test_degenerate_intervals():
    one = paired_interval([0.3])
    assert (one.low, one.mean, one.high, one.n) == (-math.inf, 0.3, math.inf, 1)
    same = paired_interval([0.1, 0.1, 0.1])
    assert (same.low, same.mean, same.high) == (0.1, 0.1, 0.1)
    assert same.excludes_zero
    boot = bootstrap_interval([0.3], np.mean, seed=0)
    assert (boot.low, boot.high) == (-math.inf, math.inf)
    flat = bootstrap_interval([0.1] * 4, np.median, seed=0)
    assert (flat.low, flat.mean, flat.high) == (0.1, 0.1, 0.1)


def test_bootstrap_of_a_mean_agrees_with_student():
    values = np.random.default_rng(1).normal(size=60)
    boot, student = bootstrap_interval(values, np.mean, seed=2, resamples=4000), paired_interval(values)
    width = student.high - student.low
    assert abs(boot.low - student.low) < 0.1 * width
    assert abs(boot.high - student.high) < 0.1 * width


def test_bootstrap_leans_towards_the_long_tail():
    values = np.random.default_rng(1).exponential(size=30)
    interval = bootstrap_interval(values, np.mean, seed=2)
    assert interval.high - interval.mean > interval.mean - interval.low


@given(seed=st.integers(0, 2**32))
@settings(max_examples=10, deadline=None)
def test_bootstrap_repeats_and_touches_nothing_global(seed):
    before = np.random.get_state()[1].tolist()
    first, second = (bootstrap_interval([1.0, 2.0, 5.0], np.median, seed=seed, resamples=100) for _ in range(2))
    assert first == second
    assert np.random.get_state()[1].tolist() == before


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [[1.0]]])
def test_refuses_values(values):
    with pytest.raises(InputError, match=r"^paired_interval: differences must be a non-empty sequence of finite"):
        paired_interval(values)


def test_refuses_options():
    with pytest.raises(InputError, match=r"^paired_interval: confidence must be in \(0, 1\), got 95\. "):
        paired_interval([1.0, 2.0], 95)
    with pytest.raises(InputError, match=r"^bootstrap_interval: resamples must be at least 100, got 10\. "):
        bootstrap_interval([1.0, 2.0], np.mean, seed=0, resamples=10)
    with pytest.raises(InputError, match=r"^student_t_quantile: degrees must be positive and finite, got 0\. "):
        student_t_quantile(0.9, 0)
