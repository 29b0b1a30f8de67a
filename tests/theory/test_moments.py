"""The table of gains to its printed digits, and quadrature against closed forms."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gainstage.errors import InputError
from gainstage.theory import (
    activation,
    activation_names,
    activation_of,
    chi1_at_he_gain,
    derivative_second_moment,
    fourth_moment,
    he_gain,
    mean,
    nf_gain,
    second_moment,
)

LEAKY = {"negative_slope": 0.2}
# kind, name, parameters, E φ, E φ², He gain, NF gain, χ₁ at the He gain; as printed.
GAINS = [
    ("closed_form", "tanh", {}, 0, 0.394294, 1.592537, 1.592537, 1.1778),
    ("closed_form", "sigmoid", {}, 0.5, 0.293379, 1.846229, 4.801313, 0.1528),
    ("closed_form", "relu", {}, 0.398942, 0.5, 1.414214, 1.712859, 1),
    ("closed_form", "leaky_relu", {}, 0.394953, 0.500050, 1.414143, 1.704832, 1),
    ("closed_form", "leaky_relu", LEAKY, 0.319154, 0.52, 1.386750, 1.546460, 1),
    ("closed_form", "elu", {}, 0.160521, 0.644945, 1.245198, 1.270843, 1.0359),
    ("closed_form", "selu", {}, 0, 1, 1, 1, 1.0716),
    ("closed_form", "gelu", {}, 0.282095, 0.425221, 1.533530, 1.700926, 1.0720),
    ("closed_form", "silu", {}, 0.206621, 0.355776, 1.676532, 1.787187, 1.0666),
    ("closed_form", "mish", {}, 0.240404, 0.452342, 1.486848, 1.592025, 1.0591),
    ("closed_form", "softplus", {}, 0.806059, 0.921246, 1.041867, 1.919126, 0.3185),
    ("closed_form", "hardswish", {}, 0.166217, 0.331567, 1.736657, 1.813871, 1.0813),
    ("closed_form", "softsign", {}, 0, 0.183014, 2.337533, 2.337533, 1.2440),
]  # fmt: skip
NAMES = st.sampled_from(activation_names())


@pytest.mark.parametrize(("kind", "name", "parameters", "first", "second", "he", "nf", "chi1"), GAINS)
def test_table_of_gains(kind, name, parameters, first, second, he, nf, chi1):
    assert kind == "closed_form"
    act = activation(name, **parameters)
    found = (mean(act), second_moment(act), he_gain(act), nf_gain(act))
    assert found == pytest.approx((first, second, he, nf), abs=5.1e-7)
    assert chi1_at_he_gain(act) == pytest.approx(chi1, abs=5.1e-5)


@pytest.mark.parametrize(("kind", "name", "parameters", "first", "second", "he", "nf", "chi1"), GAINS)
def test_a_bare_callable_gives_the_same(kind, name, parameters, first, second, he, nf, chi1):
    known = activation(name, **parameters)
    for act in (activation_of(known.function, known.kinks), activation_of(known.function)):
        assert (he_gain(act), nf_gain(act)) == pytest.approx((he, nf), abs=5.1e-7)
        assert second_moment(act) == pytest.approx(second_moment(known), rel=1e-10)
        assert chi1_at_he_gain(act) == pytest.approx(chi1_at_he_gain(known), rel=1e-10)


# kind, function, E φ, E φ², E φ′²
CALLABLES = [
    ("closed_form", lambda z: np.sin(2 * z), 0.0, (1 - math.exp(-8)) / 2, 2 * (1 + math.exp(-8))),
    ("closed_form", lambda z: np.exp(z / 2), math.exp(1 / 8), math.exp(1 / 2), math.exp(1 / 2) / 4),
    ("closed_form", lambda z: np.maximum(z, 0.0) ** 2, 0.5, 1.5, 2.0),
    ("closed_form", lambda z: np.maximum(z, 0.0) ** 3, 2 / math.sqrt(2 * math.pi), 7.5, 13.5),
    ("closed_form", np.abs, math.sqrt(2 / math.pi), 1.0, 1.0),
    ("closed_form", lambda z: np.cos(z) * z, 0.0, (1 - 3 * math.exp(-2)) / 2, None),
]


@pytest.mark.parametrize(("kind", "function", "first", "second", "slope"), CALLABLES)
def test_any_callable_to_ten_digits(kind, function, first, second, slope):
    assert kind == "closed_form"
    act = activation_of(function)
    assert (mean(act), second_moment(act)) == pytest.approx((first, second), rel=1e-10, abs=1e-10)
    if slope is not None:
        assert derivative_second_moment(act) == pytest.approx(slope, rel=1e-10)


@given(place=st.floats(-2, 2, allow_subnormal=False), left=st.floats(-1, 1, allow_subnormal=False))
@settings(max_examples=40, deadline=None)
def test_slopes_on_both_sides_of_an_undeclared_kink(place, left):
    act = activation_of(lambda z: np.where(z > place, z - place, left * (z - place)))
    above = math.erfc(place / math.sqrt(2)) / 2
    assert derivative_second_moment(act) == pytest.approx(above + left**2 * (1 - above), rel=1e-10)


@pytest.mark.parametrize("q", [1e-6, 0.3, 1.0, 7.0, 1e6])
def test_gelu_in_closed_form(q):
    # E Φ(√q z)² and its derivatives in q, from the orthant probability.
    rho = q / (1 + q)
    exact = q * (0.25 + math.asin(rho) / (2 * math.pi)) + q**2 / (math.pi * (1 + q) * math.sqrt(1 + 2 * q))
    assert second_moment(activation("gelu"), q) == pytest.approx(exact, rel=1e-9)
    assert mean(activation("gelu"), q) == pytest.approx(q / math.sqrt(2 * math.pi * (1 + q)), rel=1e-9)


@pytest.mark.parametrize("q", [1e-4, 1.0, 1e10])
def test_hardtanh_in_closed_form(q):
    edge = 1 / math.sqrt(q)
    inside = math.erf(edge / math.sqrt(2))
    density = math.exp(-edge * edge / 2) / math.sqrt(2 * math.pi)
    exact = q * (inside - 2 * edge * density) + (1 - inside)
    assert derivative_second_moment(activation("hardtanh"), q) == pytest.approx(inside, rel=1e-9)
    if q >= 1:
        assert second_moment(activation("hardtanh"), q) == pytest.approx(exact, rel=1e-5 if q > 1 else 1e-9)


def test_saturated_tanh_at_a_huge_variance():
    # A function that turns within 1e-5 of zero: 1 - E tanh² = 2 p(0)/√q, and E tanh′² = (4/3) p(0)/√q.
    q, height = 1e10, 1 / math.sqrt(2 * math.pi)
    assert 1 - second_moment(activation("tanh"), q) == pytest.approx(2 * height / 1e5, rel=1e-6)
    assert derivative_second_moment(activation("tanh"), q) == pytest.approx(4 / 3 * height / 1e5, rel=1e-6)


@given(slope=st.floats(-0.9, 1.5, allow_subnormal=False), q=st.floats(1e-3, 1e3))
@settings(max_examples=30, deadline=None)
def test_homogeneous_closed_forms_against_quadrature(slope, q):
    fast = activation("leaky_relu", negative_slope=slope)
    slow = replace(fast, slopes=None)
    for moment in (mean, second_moment, fourth_moment, derivative_second_moment):
        assert moment(fast, q) == pytest.approx(moment(slow, q), rel=1e-10, abs=1e-10)


@given(name=NAMES, factor=st.floats(0.1, 10))
@settings(max_examples=30, deadline=None)
def test_gain_is_inverse_to_scale(name, factor):
    act = activation(name)
    scaled = replace(act, function=lambda z: factor * act.function(z), slopes=None)
    assert he_gain(scaled) == pytest.approx(he_gain(act) / factor, rel=1e-9)
    assert he_gain(act) ** 2 * second_moment(act) == pytest.approx(1, rel=1e-12)


@given(name=NAMES, q=st.floats(1e-3, 1e3))
@settings(max_examples=40, deadline=None)
def test_moments_obey_their_inequalities(name, q):
    act = activation(name)
    assert mean(act, q) ** 2 <= second_moment(act, q) * (1 + 1e-12)
    assert second_moment(act, q) ** 2 <= fourth_moment(act, q) * (1 + 1e-12)
    # The Gaussian Poincaré inequality: Var φ(√q z) ≤ q E φ′².
    assert second_moment(act, q) - mean(act, q) ** 2 <= q * derivative_second_moment(act, q) * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize("name", activation_names())
def test_against_monte_carlo(name):
    act, n = activation(name), 40_000
    values = act.function(1.5 * np.random.default_rng(0).normal(size=n))
    # Four standard errors of each sample mean.
    assert abs(values.mean() - mean(act, 2.25)) < 4 * values.std() / math.sqrt(n)
    assert abs(np.mean(values**2) - second_moment(act, 2.25)) < 4 * np.std(values**2) / math.sqrt(n)


@pytest.mark.parametrize("name", activation_names())
def test_arrays_of_variances_give_what_one_at_a_time_gives(name):
    act, q = activation(name), np.array([[0.0, 1e-8, 1e-3], [1.0, 40.0, 1e6]])
    for moment in (mean, second_moment, derivative_second_moment):
        found = moment(act, q)
        assert found.shape == q.shape
        assert found.ravel() == pytest.approx([moment(act, float(one)) for one in q.ravel()], rel=1e-10, abs=1e-10)
    for moment in (mean, second_moment, derivative_second_moment):
        with pytest.raises(InputError, match=rf"^{moment.__name__}: q must be finite and at least 0, got -1\.0\. "):
            moment(act, np.array([1.0, -1.0]))


def test_limits_at_zero_variance():
    assert derivative_second_moment(activation("tanh"), 0.0) == 1.0
    assert second_moment(activation("sigmoid"), 0.0) == pytest.approx(0.25, rel=1e-12)
    elu = activation("elu", alpha=0.5)
    assert derivative_second_moment(elu, 0.0) == pytest.approx((1 + 0.25) / 2, abs=1e-9)
    assert derivative_second_moment(elu, 1e-16) == pytest.approx((1 + 0.25) / 2, abs=1e-6)


def test_refuses():
    constant = activation_of(np.ones_like)
    with pytest.raises(InputError, match=r"^nf_gain: Var φ must be positive, got"):
        nf_gain(constant)
    with pytest.raises(InputError, match=r"^he_gain: E φ² must be positive, got 0\. "):
        he_gain(activation_of(np.zeros_like))
    with pytest.raises(InputError, match=r"^second_moment: q must be finite and at least 0, got -1\. "):
        second_moment(activation("relu"), -1)
