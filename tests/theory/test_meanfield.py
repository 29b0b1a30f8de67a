import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gainstage.errors import InputError
from gainstage.theory import activation, activation_names, activation_of, c_map, chi, chi1, he_gain, q_map, q_map_slope

NAMES = st.sampled_from(activation_names())
SMOOTH = settings(max_examples=30, deadline=None)


@given(name=NAMES)
@SMOOTH
def test_he_gain_is_a_fixed_point_of_the_q_map(name):
    act = activation(name)
    assert q_map(1.0, act, he_gain(act) ** 2) == pytest.approx(1, rel=1e-12)


@given(
    name=NAMES, q=st.floats(0.01, 100), weight_var=st.floats(0.1, 4), bias_var=st.floats(0, 1, allow_subnormal=False)
)
@SMOOTH
def test_c_map_keeps_equal_inputs_equal_and_others_in_range(name, q, weight_var, bias_var):
    act = activation(name)
    assert c_map(1.0, q, act, weight_var, bias_var) == 1.0
    near = c_map(1 - 1e-9, q, act, weight_var, bias_var)
    assert near == pytest.approx(1, abs=1e-6)
    assert -1 <= c_map(-1.0, q, act, weight_var, bias_var) <= c_map(0.0, q, act, weight_var, bias_var) <= near


@given(
    name=NAMES,
    q=st.floats(0.05, 20),
    low=st.floats(-1, 1, allow_subnormal=False),
    high=st.floats(-1, 1, allow_subnormal=False),
)
@SMOOTH
def test_c_map_rises_on_positive_correlations(name, q, low, high):
    act, (low, high) = activation(name), sorted((abs(low), abs(high)))
    assert c_map(low, q, act, 1.5, 0.1) <= c_map(high, q, act, 1.5, 0.1) + 1e-12


@given(c=st.floats(-1, 1, allow_subnormal=False))
def test_relu_c_map_in_closed_form(c):
    exact = (math.sqrt((1 - c) * (1 + c)) + c * (math.pi - math.acos(c))) / math.pi
    assert c_map(c, 1.7, activation("relu"), 2.0) == pytest.approx(exact, abs=1e-14)


@given(
    slope=st.floats(-0.5, 1.2, allow_subnormal=False), c=st.floats(-1, 1, allow_subnormal=False), q=st.floats(0.1, 10)
)
@SMOOTH
def test_homogeneous_maps_against_quadrature(slope, c, q):
    fast = activation("leaky_relu", negative_slope=slope)
    slow = replace(fast, slopes=None)
    assert c_map(c, q, fast, 1.5, 0.2) == pytest.approx(c_map(c, q, slow, 1.5, 0.2), abs=1e-10)
    assert chi(c, q, fast, 1.5) == pytest.approx(chi(c, q, slow, 1.5), abs=1e-9)
    assert q_map_slope(q, fast, 1.5) == pytest.approx(q_map_slope(q, slow, 1.5), rel=1e-9)


@given(name=NAMES, q=st.floats(0.05, 20))
@SMOOTH
def test_slopes_are_the_derivatives_of_their_maps(name, q):
    act, step = activation(name), 1e-4
    rise = (q_map(q * (1 + step), act, 1.3) - q_map(q * (1 - step), act, 1.3)) / (2 * step * q)
    assert q_map_slope(q, act, 1.3) == pytest.approx(rise, rel=1e-5)
    covariance = [c_map(c, q, act, 1.3) * q_map(q, act, 1.3) / q for c in (0.3 - step, 0.3 + step)]
    assert chi(0.3, q, act, 1.3) == pytest.approx((covariance[1] - covariance[0]) / (2 * step), rel=1e-5, abs=1e-9)


def test_correlation_of_a_deep_relu_network_approaches_one_slowly():
    # Closed form: 1 - c ≈ 9π²/(2 l²) for large depth l.
    relu, c, depth = activation("relu"), 0.0, 3000
    for _ in range(depth):
        c = c_map(c, 1.0, relu, 2.0)
    assert (1 - c) * depth**2 == pytest.approx(4.5 * math.pi**2, rel=0.02)


def test_maps_against_a_wide_network():
    """Twin: one random layer; the tolerance is four standard errors over its units."""
    tanh, width, generator = activation("tanh"), 200_000, np.random.default_rng(5)
    first = generator.normal(size=width)
    second = 0.6 * first + 0.8 * generator.normal(size=width)
    products = 1.7 * np.tanh(first) * np.tanh(second)
    covariance = c_map(0.6, 1.0, tanh, 1.7, 0.3) * q_map(1.0, tanh, 1.7, 0.3) - 0.3
    assert abs(products.mean() - covariance) < 4 * products.std() / math.sqrt(width)
    slopes = 1.7 / np.cosh(first) ** 4
    assert abs(slopes.mean() - chi1(1.0, tanh, 1.7)) < 4 * slopes.std() / math.sqrt(width)


def test_chi_at_one_is_chi1():
    assert chi(1.0, 0.7, activation("gelu"), 2.0) == chi1(0.7, activation("gelu"), 2.0)
    near = chi(1 - 1e-8, 0.7, activation("gelu"), 2.0)
    assert near == pytest.approx(chi1(0.7, activation("gelu"), 2.0), rel=1e-6)


@pytest.mark.parametrize("c", [-0.999, -0.3, 0.0, 1e-6, 0.5, 0.99, 0.999999])
@pytest.mark.parametrize("left", [0.0, 0.2, -1.0])
def test_pairs_of_bare_callables_to_ten_digits(left, c):
    bare = activation_of(lambda z: np.where(z > 0, z, left * z))
    known = replace(bare, slopes=(left, 1.0))  # in closed form
    assert c_map(c, 2.5, bare, 1.5, 0.1) == pytest.approx(c_map(c, 2.5, known, 1.5, 0.1), abs=1e-10)
    assert chi(c, 2.5, bare, 1.5) == pytest.approx(chi(c, 2.5, known, 1.5), abs=1e-10)
    # E 4 cos(2z₁) cos(2z₂) = 4 exp(-4) cosh(4c)
    assert chi(c, 1.0, activation_of(lambda z: np.sin(2 * z)), 1.0) == pytest.approx(
        4 * math.exp(-4) * math.cosh(4 * c), abs=1e-10
    )


def test_maps_over_grids():
    tanh, q = activation("tanh"), np.array([0.2, 1.0, 3.0])
    weight_var = np.array([[0.5], [2.0]])
    grid, slopes = q_map(q, tanh, weight_var, 0.1), chi1(q, tanh, weight_var)
    assert grid.shape == slopes.shape == (2, 3)
    assert grid[1, 2] == pytest.approx(q_map(3.0, tanh, 2.0, 0.1), rel=1e-12)
    assert slopes[0, 1] == pytest.approx(chi1(1.0, tanh, 0.5), rel=1e-12)
    with pytest.raises(InputError, match=r"^q_map: bias_var must be finite and at least 0, got -1\.0\. "):
        q_map(q, tanh, 1.0, -1.0)


def test_refuses():
    relu = activation("relu")
    with pytest.raises(InputError, match=r"^q_map: weight_var must be positive and finite, got 0\. Give fan_in"):
        q_map(1.0, relu, 0)
    with pytest.raises(InputError, match=r"^q_map: bias_var must be finite and at least 0, got -1\. "):
        q_map(1.0, relu, 1.0, -1)
    with pytest.raises(InputError, match=r"^c_map: c must be in \[-1, 1\], got 1\.1\. "):
        c_map(1.1, 1.0, relu, 1.0)
    with pytest.raises(InputError, match=r"^q_map_slope: q must be positive and finite, got 0\. "):
        q_map_slope(0, relu, 1.0)
