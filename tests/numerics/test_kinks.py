"""Kinks are found wherever they lie, and only where there is one."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gainstage.errors import InputError
from gainstage.numerics import find_kinks
from gainstage.theory import activation, activation_names

PLACES = st.floats(-10, 10, allow_subnormal=False)


@given(place=PLACES)
@settings(max_examples=60, deadline=None)
def test_a_change_of_slope_or_a_jump_is_found_to_rounding(place):
    for function in (lambda z: np.maximum(z - place, 0.0), lambda z: np.where(z > place, np.cos(z), 2.0)):
        (found,) = find_kinks(function)
        assert found == pytest.approx(place, abs=1e-10)


@given(place=PLACES)
@settings(max_examples=60, deadline=None)
def test_jumps_of_the_second_derivative_are_found_near_enough(place):
    (found,) = find_kinks(lambda z: np.maximum(z - place, 0.0) ** 2)
    # A split that is off by d costs an integral of the order of d³.
    assert found == pytest.approx(place, abs=1e-4)


@pytest.mark.parametrize("name", activation_names())
def test_finds_just_the_kinks_that_the_registry_declares(name):
    act = activation(name)
    assert find_kinks(act.function) == act.kinks


@pytest.mark.parametrize(
    "function",
    [np.exp, np.cos, lambda z: np.exp(-4 * z * z), lambda z: np.log(1 + np.exp(z)), lambda z: z**5, np.zeros_like],
)
def test_smooth_functions_have_none(function):
    assert find_kinks(function) == ()


def test_finds_many():
    found = find_kinks(lambda z: np.abs(np.sin(z)), reach=20)
    assert found == pytest.approx([k * math.pi for k in range(-6, 7)], abs=1e-9)
    assert find_kinks(np.floor, reach=5.5) == tuple(range(-5, 6))


def test_cusps_are_closed_in_on():
    assert find_kinks(lambda z: np.sqrt(np.abs(z - 0.2))) == pytest.approx((0.2,), abs=1e-12)


def test_what_is_rough_everywhere_has_no_kinks():
    generator = np.random.default_rng(0)
    assert find_kinks(lambda z: generator.normal(size=np.shape(z))) == ()


def test_refuses():
    with pytest.raises(InputError, match=r"^find_kinks: reach must be positive and finite, got 0\. Give the largest"):
        find_kinks(np.abs, reach=0)
