import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gainstage.errors import InputError
from gainstage.theory import (
    activation,
    activation_names,
    activation_of,
    c_fixed_point,
    c_map,
    chi1,
    critical_point,
    depth_scale_c,
    depth_scale_q,
    preserving_weight_var,
    q_fixed_point,
    q_map,
    second_moment,
)

TANH, RELU = activation("tanh"), activation("relu")

# kind, bias_var, weight_var, q*, as printed; tolerance of half a unit of the last digit
EDGE = [
    ("closed_form", 0.0, 1.0, 0.0, 1e-12),
    ("closed_form", 1e-4, 1.0860, 0.0457, 5.1e-5),
    ("closed_form", 0.01, 1.4242, 0.2733, 5.1e-5),
    ("closed_form", 0.05, 1.76095, 0.5700, 5.1e-5),  # 1.760955: also seen in print as 1.76096
    ("closed_form", 0.1, 1.9861, 0.8058, 5.1e-5),
    ("closed_form", 0.25, 2.4015, 1.3179, 5.1e-5),
    ("closed_form", 0.5, 2.8432, 1.9710, 5.1e-5),
]
# kind, weight_var, ξ_c of tanh at bias_var 0.05, as printed
DEPTHS = [
    ("closed_form", 1.0, 3.6),
    ("closed_form", 1.3, 7.8),
    ("closed_form", 1.5, 15.8),
    ("closed_form", 2.0, 25.2),
    ("closed_form", 2.5, 11.8),
    ("closed_form", 4.0, 7.0),
]


@pytest.mark.parametrize(("kind", "bias_var", "weight_var", "q_star", "tolerance"), EDGE)
def test_edge_of_chaos_of_tanh(kind, bias_var, weight_var, q_star, tolerance):
    assert kind == "closed_form"
    assert critical_point(TANH, bias_var) == pytest.approx((weight_var, q_star), abs=tolerance)


@pytest.mark.parametrize("bias_var", [entry[1] for entry in EDGE[1:]])
def test_edge_of_chaos_by_another_quadrature(bias_var):
    """Twin: the trapezoidal rule, which converges exponentially on smooth functions that vanish at the ends."""
    z = np.linspace(-12, 12, 6001)
    density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    weight_var, q_star = critical_point(TANH, bias_var)
    h = math.sqrt(q_star) * z
    assert weight_var * np.sum(density / np.cosh(h) ** 4) == pytest.approx(1, rel=1e-10)
    assert weight_var * np.sum(density * np.tanh(h) ** 2) + bias_var == pytest.approx(q_star, rel=1e-10)


@pytest.mark.parametrize(("kind", "weight_var", "depth"), DEPTHS)
def test_depth_scale_of_tanh(kind, weight_var, depth):
    assert kind == "closed_form"
    assert depth_scale_c(TANH, weight_var, 0.05) == pytest.approx(depth, abs=0.051)


@pytest.mark.parametrize("name", sorted(set(activation_names()) - {"softplus", "log_sigmoid"}))
def test_critical_points_are_critical_fixed_points(name):
    act = activation(name)
    for bias_var in (0.0, 0.05) if act.slopes is None else (0.0,):
        weight_var, q_star = critical_point(act, bias_var)
        assert chi1(q_star, act, weight_var) == pytest.approx(1, rel=1e-6)
        assert q_map(q_star, act, weight_var, bias_var) == pytest.approx(q_star, rel=1e-7)


def test_edge_of_chaos_of_relu():
    assert critical_point(RELU) == (2.0, 1.0)
    with pytest.raises(InputError, match=r"^critical_point: bias_var must be 0 for relu, the only critical one, got"):
        critical_point(RELU, 0.1)
    with pytest.raises(InputError, match=r"^critical_point: bias_var must be one at which softplus has an edge"):
        critical_point(activation("softplus"))


@given(weight_var=st.floats(1.3, 6), bias_var=st.floats(0, 1, allow_subnormal=False))
@settings(max_examples=20, deadline=None)
def test_tanh_iterates_to_its_fixed_points(weight_var, bias_var):
    q_star = q_fixed_point(TANH, weight_var, bias_var)
    q = 1.0
    for _ in range(150):
        q = q_map(q, TANH, weight_var, bias_var)
    assert q == pytest.approx(q_star, rel=1e-5)
    assert c_map(1.0, q_star, TANH, weight_var, bias_var) == 1.0
    c_star = c_fixed_point(TANH, weight_var, bias_var)
    assert c_map(c_star, q_star, TANH, weight_var, bias_var) == pytest.approx(c_star, abs=1e-9)
    assert (c_star == 1) == (chi1(q_star, TANH, weight_var) <= 1 + 1e-9)


def test_correlations_iterate_to_their_fixed_point():
    q_star, c = q_fixed_point(TANH, 3.0, 0.05), 0.9
    for _ in range(300):
        c = c_map(c, q_star, TANH, 3.0, 0.05)
    assert c == pytest.approx(c_fixed_point(TANH, 3.0, 0.05), abs=1e-5)


@pytest.mark.parametrize(
    ("weight_var", "bias_var", "expected"),
    [(2.1, 0.0, math.inf), (1.9, 0.0, 0.0), (2.0, 0.0, 1.0), (1.9, 0.1, 2.0), (2.0, 0.1, math.inf)],
)
def test_relu_dies_stays_or_explodes(weight_var, bias_var, expected):
    assert q_fixed_point(RELU, weight_var, bias_var) == pytest.approx(expected, rel=1e-9)


def test_depth_scale_of_the_variance_is_what_iteration_shows():
    q_star = q_fixed_point(TANH, 1.3, 0.05)
    q, gaps = q_star + 1e-3, []
    for _ in range(6):
        gaps.append(q - q_star)
        q = q_map(q, TANH, 1.3, 0.05)
    assert -1 / math.log(gaps[-1] / gaps[-2]) == pytest.approx(depth_scale_q(TANH, 1.3, 0.05), rel=1e-3)


def test_depth_scales_are_infinite_on_the_edge():
    weight_var, _ = critical_point(TANH, 0.05)
    assert depth_scale_c(TANH, weight_var, 0.05) > 1e4
    assert depth_scale_c(RELU, 2.0) == math.inf
    assert depth_scale_q(RELU, 2.0) == math.inf


def test_no_correlation_without_a_signal():
    with pytest.raises(InputError, match=r"^c_fixed_point: weight_var and bias_var must give a positive, finite q\*"):
        c_fixed_point(RELU, 1.5)
    with pytest.raises(InputError, match=r"^depth_scale_c: .* got q\* = inf for relu at 3\.0 and 0\.0\. "):
        depth_scale_c(RELU, 3.0)


# kind, name, parameters, σ_w²
PRESERVING = [
    ("paper", "relu", {}, 2.0),  # He et al. 2015
    ("paper", "leaky_relu", {"negative_slope": 0.2}, 2 / 1.04),  # He et al. 2015
    ("paper", "selu", {}, 1.0),  # Klambauer et al. 2017
    ("paper", "tanh", {}, 1.0),  # Glorot and Bengio 2010
    ("closed_form", "identity", {}, 1.0),
    ("closed_form", "softsign", {}, 1.0),
    ("closed_form", "hardtanh", {}, 1.0),
    ("closed_form", "sigmoid", {}, 16.0),
    ("closed_form", "hardsigmoid", {}, 36.0),
]


@pytest.mark.parametrize(("kind", "name", "parameters", "weight_var"), PRESERVING)
def test_preserving_weight_var(kind, name, parameters, weight_var):
    assert kind in ("paper", "closed_form")
    assert preserving_weight_var(activation(name, **parameters)) == pytest.approx(weight_var, rel=1e-9)


def test_preserving_weight_var_of_others():
    gelu = activation("gelu")
    assert preserving_weight_var(gelu) * second_moment(gelu) == pytest.approx(1, rel=1e-12)
    square = activation_of(np.square)
    assert preserving_weight_var(square) == pytest.approx(1 / 3, rel=1e-9)
    with pytest.raises(InputError, match=r"^preserving_weight_var: zeros_like must not vanish, got E φ² = 0"):
        preserving_weight_var(activation_of(np.zeros_like))
