import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gainstage.errors import InputError
from gainstage.theory import (
    Layer,
    activation,
    activation_names,
    batch_norm_gradient_factor,
    chi1,
    chi1_at_he_gain,
    gradient_band,
    he_gain,
    nf_gain,
)

IDENTITY, RELU, TANH = (activation(name) for name in ("identity", "relu", "tanh"))
RUNS = 400


def measured_grad_rms(layers, *, runs=RUNS, inputs=64):
    """Twin: gradients of random networks by hand, from a random one of rms 1 at the top."""
    generator = np.random.default_rng(2)
    found = np.empty((runs, len(layers)))
    for run in range(runs):
        x = generator.normal(size=inputs)
        x *= math.sqrt(inputs / np.sum(x**2))
        weights, slopes = [], []
        for layer in layers:
            width, scale = int(layer.width), math.sqrt(layer.weight_var / x.size)
            weight = generator.normal(size=(width, x.size)) * scale
            h = weight @ x + generator.normal(size=width) * math.sqrt(layer.bias_var)
            weights.append(weight)
            slopes.append(layer.activation.derivative(h))
            x = layer.activation.function(h)
        grad = generator.normal(size=x.size)
        grad /= math.sqrt(np.mean(grad**2))
        found[run, -1] = 1.0
        for index in range(len(layers) - 2, -1, -1):
            grad = slopes[index] * (weights[index + 1].T @ grad)
            found[run, index] = math.sqrt(np.mean(grad**2))
    return found


@pytest.mark.parametrize(
    "layers",
    [
        pytest.param([Layer(64, RELU, 2.0)] * 12, id="relu-he"),
        pytest.param([Layer(64, IDENTITY, 1.0)] * 12, id="linear"),
        pytest.param([Layer(64, TANH, 2.5)] * 12, id="tanh-chaotic"),
        pytest.param([Layer(64, TANH, 1.0, 0.1)] * 12, id="tanh-ordered"),
        pytest.param([Layer(width, RELU, 2.0) for width in (128, 32, 96, 200, 50)], id="uneven"),
    ],
)
def test_networks_lie_in_the_band(layers):
    measured = measured_grad_rms(layers)[:, :-1]
    levels = gradient_band(1.0, layers, z_score=3.0)[:-1]
    low, high = np.array([level.low for level in levels]), np.array([level.high for level in levels])
    assert np.mean((low <= measured) & (measured <= high)) >= 0.99
    predicted = np.array([math.log(level.high / level.low) ** 2 / 9 for level in levels])
    spread = np.var(2 * np.log(measured), axis=0)
    depth_over_width = sum(1 / layer.width for layer in layers)
    assert spread == pytest.approx(predicted, rel=4 * math.sqrt(2 / RUNS) + 3 * depth_over_width)


@given(name=st.sampled_from(activation_names()), depth=st.integers(2, 6))
@settings(max_examples=20, deadline=None)
def test_squared_gradients_grow_by_chi1_a_layer(name, depth):
    act = activation(name)
    gain = he_gain(act) ** 2
    levels = gradient_band(1 / gain, [Layer(100, act, gain)] * depth, output_grad_rms=0.1)
    assert levels[-1].rms == pytest.approx(0.1)
    assert levels[0].rms ** 2 == pytest.approx(0.01 * chi1_at_he_gain(act) ** (depth - 1), rel=1e-9)
    assert chi1_at_he_gain(act) == pytest.approx(chi1(1.0, act, gain), rel=1e-12)


def test_squared_norm_follows_the_fans():
    dense = gradient_band(1.0, [Layer(50, RELU, 2.0), Layer(200, RELU, 2.0)])
    assert dense[0].rms ** 2 == pytest.approx(4.0)
    conv = gradient_band(1.0, [Layer(50, RELU, 2.0), Layer(200, RELU, 2.0, fan_ratio=1.0)])
    assert conv[0].rms ** 2 == pytest.approx(1.0)


# kind, activation, batch size, factor as printed
BATCH_NORM = [
    ("paper", RELU, None, 1.46694),  # Yang et al. 2019: π/(π - 1)
    ("closed_form", RELU, None, math.pi / (math.pi - 1)),
    ("closed_form", IDENTITY, None, 1.0),
    ("paper", IDENTITY, 5, 3 / 2),  # Yang et al. 2019: (B - 2)/(B - 3)
    ("paper", IDENTITY, 64, 62 / 61),
    ("closed_form", RELU, 10**7, math.pi / (math.pi - 1)),
]


@pytest.mark.parametrize(("kind", "act", "batch_size", "factor"), BATCH_NORM)
def test_batch_norm_factor(kind, act, batch_size, factor):
    assert kind in ("paper", "closed_form")
    assert batch_norm_gradient_factor(act, batch_size) == pytest.approx(factor, abs=5e-6)


@given(name=st.sampled_from(activation_names()))
@settings(max_examples=20, deadline=None)
def test_batch_norm_factor_is_chi1_at_the_normalizer_free_gain(name):
    act = activation(name)
    factor = batch_norm_gradient_factor(act)
    assert factor == pytest.approx(chi1(1.0, act, nf_gain(act) ** 2), rel=1e-9)
    assert factor >= 1 - 1e-9


def batch_norm_growth(act, batch, *, width=400, depth=12, seed=0):
    """Twin: growth of ‖gradient‖² a layer in one random network, without its bottom layers."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(width, batch))
    steps = []
    for _ in range(depth):
        weight = generator.normal(size=(width, width)) / math.sqrt(width)
        h = weight @ x
        h -= h.mean(axis=1, keepdims=True)
        scale = np.sqrt(np.mean(h**2, axis=1, keepdims=True))
        steps.append((weight, h / scale, scale))
        x = act.function(h / scale)
    grad = generator.normal(size=x.shape)
    squares = []
    for weight, normal, scale in reversed(steps):
        grad = grad * act.derivative(normal)
        grad = grad - grad.mean(axis=1, keepdims=True) - normal * np.mean(grad * normal, axis=1, keepdims=True)
        grad = weight.T @ (grad / scale)
        squares.append(float(np.sum(grad**2)))
    # The first steps down still remember the gradient at the top, the last ones the input.
    return (squares[-4] / squares[1]) ** (1 / (len(squares) - 5))


LEAKY = activation("leaky_relu", negative_slope=0.3)


@pytest.mark.parametrize(("act", "batch"), [(RELU, 16), (RELU, 48), (IDENTITY, 8), (LEAKY, 24)])
def test_batch_norm_factor_against_networks(act, batch):
    growth = [math.log(batch_norm_growth(act, batch, seed=seed)) for seed in range(6)]
    predicted = math.log(batch_norm_gradient_factor(act, batch))
    error = np.std(growth, ddof=1) / math.sqrt(len(growth))
    # Four standard errors, and a batch over width of correction.
    assert abs(np.mean(growth) - predicted) < 4 * error + 0.3 * batch / 400


@pytest.mark.parametrize("name", activation_names())
@pytest.mark.parametrize("weight_var", [1e-80, 1e80])
def test_vanishing_and_overflowing_networks_end_without_an_exception(name, weight_var):
    levels = gradient_band(1.0, [Layer(64, activation(name), weight_var)] * 6)
    assert not any(math.isnan(figure) for level in levels for figure in (level.rms, level.low, level.high))


def test_refuses():
    with pytest.raises(InputError, match=r"^batch_norm_gradient_factor: batch_size must be at least 4, got 3\. "):
        batch_norm_gradient_factor(RELU, 3)
    with pytest.raises(InputError, match=r"^batch_norm_gradient_factor: activation must be piecewise linear for a"):
        batch_norm_gradient_factor(TANH, 32)
    with pytest.raises(InputError, match=r"^gradient_band: layers must have at least one entry, got none\. "):
        gradient_band(1.0, [])
    with pytest.raises(InputError, match=r"^gradient_band: output_grad_rms must be positive and finite, got 0\. "):
        gradient_band(1.0, [Layer(64, RELU, 2.0)], output_grad_rms=0)
