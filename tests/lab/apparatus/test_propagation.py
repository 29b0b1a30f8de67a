import math

import pytest
import torch

from gainstage.lab.apparatus.propagation import FUNCTIONS, drawn, gradients, log_squares, preactivations
from gainstage.seeding import generator

WIDTHS = (6, 5, 7, 4)


def network(activation):
    weight = drawn(WIDTHS, lambda fan_in, _: 2 / fan_in, "normal", 0, "twin")
    inputs = torch.randn(WIDTHS[0], generator=generator(0, "inputs")).double()
    return weight, preactivations(weight, 3, inputs, activation)


@pytest.mark.parametrize("activation", FUNCTIONS)
def test_gradients_are_those_of_autograd(activation):
    weight, before = network(activation)
    top = torch.randn(WIDTHS[-1], generator=generator(0, "top")).double()
    # twin: autograd through the same three layers, from the first preactivation on
    first = before[0].clone().requires_grad_()
    z = first
    for layer in (1, 2):
        z = weight(layer) @ FUNCTIONS[activation][0](z)
    (expected,) = torch.autograd.grad(z, first, top)
    assert torch.allclose(z.detach(), before[-1])
    assert torch.allclose(gradients(weight, before, top, activation)[-1], expected)


@pytest.mark.parametrize("draw", ["normal", "uniform"])
def test_weights_have_the_variance_asked_for(draw):
    weight = drawn((400, 600), lambda fan_in, fan_out: 2 / (fan_in + fan_out), draw, 0, draw)
    # The sample variance of 240,000 values scatters by √(2/240000) = 0.3 % (less for uniform).
    assert float(weight(0).var()) == pytest.approx(2 / 1000, rel=0.015)
    if draw == "uniform":
        assert float(weight(0).abs().max()) <= math.sqrt(6 / 1000)


def test_a_layer_is_the_same_each_time_and_unlike_the_next():
    weight = drawn((8, 8, 8), lambda fan_in, _: 1 / fan_in, "normal", 0, "again")
    assert torch.equal(weight(1), weight(1))
    assert not torch.equal(weight(0), weight(1))


def test_log_squares():
    assert log_squares([torch.tensor([3.0, 4.0])]) == pytest.approx([math.log(12.5)])
