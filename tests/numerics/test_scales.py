"""Many scales at once against one at a time, and against closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gainstage.errors import InputError
from gainstage.numerics import gaussian_expectation, scaled_expectation

SCALES = np.array([0.0, 1e-6, 0.3, 1.0, 4.0, 17.0])


@pytest.mark.parametrize(
    ("function", "kinks"),
    [(np.tanh, ()), (np.abs, (0.0,)), (lambda z: np.clip(z, -1, 0.3), (-1.0, 0.3)), (lambda z: np.tanh(z) ** 2, ())],
)
def test_is_what_one_scale_at_a_time_gives(function, kinks):
    found = scaled_expectation(function, SCALES.reshape(2, 3), kinks=kinks)
    assert found.shape == (2, 3)
    for scale, value in zip(SCALES, found.ravel(), strict=True):
        inside = [kink / scale for kink in kinks if scale > 0]
        single = gaussian_expectation(lambda z, s=scale: function(s * z), kinks=inside)
        assert value == pytest.approx(single, rel=1e-9, abs=1e-10)


def test_a_function_that_turns_within_a_hair_of_zero():
    # 1 - E tanh(s z)² → 2 p(0)/s, far below the width of any panel of one scale.
    found = scaled_expectation(lambda z: np.tanh(z) ** 2, np.array([4e4, 1e8]))
    assert 1 - found == pytest.approx(2 / math.sqrt(2 * math.pi) / np.array([4e4, 1e8]), rel=1e-6)


@given(scale=st.floats(1e-3, 1e3), place=st.floats(-2, 2, allow_subnormal=False))
def test_a_moving_kink_in_closed_form(scale, place):
    k = place / scale
    exact = scale * (math.exp(-k * k / 2) / math.sqrt(2 * math.pi) - k * math.erfc(k / math.sqrt(2)) / 2)
    found = scaled_expectation(lambda z: np.maximum(z - place, 0.0), np.array([scale]), kinks=(place,))
    assert found[0] == pytest.approx(exact, rel=1e-10, abs=1e-10 * scale)


def test_a_kink_that_is_not_told_costs_digits():
    found = scaled_expectation(lambda z: np.maximum(z - 0.4, 0.0), np.array([1.0]))
    exact = math.exp(-0.08) / math.sqrt(2 * math.pi) - 0.4 * math.erfc(0.4 / math.sqrt(2)) / 2
    assert abs(found[0] - exact) > 1e-6


def test_refuses():
    with pytest.raises(InputError, match=r"^scaled_expectation: scales must be finite and at least 0\. "):
        scaled_expectation(np.tanh, np.array([-1.0]))
    with pytest.raises(InputError, match=r"^scaled_expectation: function must be finite, got NaN or infinity\. "):
        scaled_expectation(np.exp, np.array([1e4]))
    assert scaled_expectation(np.tanh, np.array([])).size == 0
