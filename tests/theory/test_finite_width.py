"""Predicted scatter against closed forms and against random networks."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gainstage.errors import InputError
from gainstage.theory import Layer, activation, activation_names, he_gain, log_q_variance, propagate, q_map

IDENTITY, RELU, TANH = (activation(name) for name in ("identity", "relu", "tanh"))
RUNS = 400


def measured_rms(layers, *, runs=RUNS, seed=0, inputs=64):
    """Twin: rms of every preactivation of random networks, one input each; shape (runs, layers)."""
    generator = np.random.default_rng(seed)
    found = np.empty((runs, len(layers)))
    for run in range(runs):
        x = generator.normal(size=inputs)
        x *= math.sqrt(inputs / np.sum(x**2))
        for index, layer in enumerate(layers):
            width = int(layer.width)
            weight = generator.normal(size=(width, x.size)) * math.sqrt(layer.weight_var / x.size)
            h = weight @ x + generator.normal(size=width) * math.sqrt(layer.bias_var)
            found[run, index] = math.sqrt(np.mean(h**2))
            x = layer.activation.function(h)
    return found


@given(widths=st.lists(st.integers(10, 1000), min_size=1, max_size=8), gain=st.floats(0.5, 2))
def test_scatter_in_closed_form(widths, gain):
    inverse = sum(1 / width for width in widths)
    for act, kurt in ((RELU, 5.0), (IDENTITY, 2.0)):
        layers = [Layer(width, act, weight_var=gain) for width in widths]
        assert log_q_variance(layers) == pytest.approx(kurt * inverse, rel=1e-12)


CASES = [
    pytest.param([Layer(64, RELU, 2.0)] * 12, id="relu-he"),
    pytest.param([Layer(96, RELU, 1 / 3)] * 8, id="relu-torch-default"),
    pytest.param([Layer(64, IDENTITY, 1.0)] * 12, id="linear"),
    pytest.param([Layer(64, TANH, 2.5)] * 12, id="tanh-chaotic"),
    pytest.param([Layer(64, TANH, 0.7, 0.05)] * 12, id="tanh-ordered-bias"),
    pytest.param([Layer(96, activation("gelu"), he_gain(activation("gelu")) ** 2)] * 8, id="gelu"),
    pytest.param([Layer(128, RELU, 2.0), Layer(40, activation("sigmoid"), 1.0), Layer(90, RELU, 2.0)], id="mixed"),
]


@pytest.mark.parametrize("layers", CASES)
def test_networks_lie_in_the_band(layers):
    measured = measured_rms(layers)
    levels = propagate(1.0, layers, z_score=3.0)
    low, high = np.array([level.low for level in levels]), np.array([level.high for level in levels])
    assert np.mean((low <= measured) & (measured <= high)) >= 0.99


@pytest.mark.parametrize("layers", CASES)
def test_scatter_is_as_wide_as_predicted(layers):
    logs = 2 * np.log(measured_rms(layers, seed=1))
    for index, level in enumerate(propagate(1.0, layers, z_score=1.0)):
        predicted = (math.log(level.high / level.low)) ** 2
        # Four standard errors of a variance, √(2/runs), and the terms of the next order in depth/width.
        order = sum(1 / layer.width for layer in layers[: index + 1])
        assert np.var(logs[:, index]) == pytest.approx(predicted, rel=4 * math.sqrt(2 / RUNS) + 3 * order)
        middle = math.log(level.high * level.low)
        assert abs(np.mean(logs[:, index]) - middle) < 4 * math.sqrt(predicted / RUNS) + predicted * (0.1 + order)


@given(
    name=st.sampled_from(activation_names()), gain=st.floats(0.3, 2), bias_var=st.floats(0, 0.5, allow_subnormal=False)
)
@settings(max_examples=20, deadline=None)
def test_middle_figure_is_the_q_map(name, gain, bias_var):
    act = activation(name)
    levels = propagate(1.0, [Layer(100, act, gain, bias_var)] * 3)
    q = gain + bias_var
    for level in levels:
        assert level.rms**2 == pytest.approx(q, rel=1e-9)
        assert level.low < level.rms < level.high
        q = q_map(q, act, gain, bias_var)


@given(width=st.integers(30, 500), factor=st.integers(2, 10))
def test_wider_layers_have_narrower_bands(width, factor):
    narrow, wide = (propagate(1.0, [Layer(n, RELU, 2.0)] * 4)[-1] for n in (width * factor, width))
    assert wide.high / wide.low > narrow.high / narrow.low


def test_bands_are_of_the_scale_of_their_input():
    small, large = (propagate(square, [Layer(64, RELU, 2.0)] * 3)[-1] for square in (1.0, 100.0))
    assert (large.rms, large.low, large.high) == pytest.approx((10 * small.rms, 10 * small.low, 10 * small.high))


@pytest.mark.parametrize(("name", "weight_var"), [("relu", 1e-80), ("tanh", 1e-80), ("relu", 1e80), ("gelu", 1e80)])
def test_signals_that_vanish_or_overflow_end_without_an_exception(name, weight_var):
    levels = propagate(1.0, [Layer(64, activation(name), weight_var)] * 8)
    assert levels[-1].rms == levels[-1].high == (0.0 if weight_var < 1 else math.inf)


def test_refuses():
    with pytest.raises(InputError, match=r"^propagate: layers must have at least one entry, got none\. "):
        propagate(1.0, [])
    with pytest.raises(InputError, match=r"^propagate: input_second_moment must be finite and at least 0, got -1\. "):
        propagate(-1, [Layer(64, RELU, 2.0)])
    with pytest.raises(InputError, match=r"^Layer: width must be positive and finite, got 0\. "):
        Layer(0, RELU, 2.0)
    with pytest.raises(InputError, match=r"^Layer: fan_ratio must be positive and finite, got 0\. "):
        Layer(64, RELU, 2.0, fan_ratio=0)
