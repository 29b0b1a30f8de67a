import math

import pytest
import torch

from gainstage.lab.apparatus.recurrent import RecurrentNet
from gainstage.lab.measurements.numbers.ln_recurrent import log_sizes, slope


def test_sizes_of_a_state_and_its_gradient_in_closed_form():
    # closed_form: W = 3, U = 1 and read-out 1: h_t = 3 h_{t-1} + x_t, so h = 1, 3, 9, 27 and ∂h_4/∂h_t = 3^(4-t)
    net = RecurrentNet(4, 1, classes=1, activation="relu").double()
    with torch.no_grad():
        for parameter, value in ((net.recurrent.weight, 3.0), (net.fed.weight, 1.0), (net.read_out.weight, 1.0)):
            parameter.fill_(value)
    states, gradients = log_sizes(
        net, torch.tensor([[1.0, 0.0, 0.0, 0.0]]).double(), torch.ones(1, 1, dtype=torch.float64)
    )
    assert states == pytest.approx([index * math.log(3) for index in range(4)])
    assert gradients == pytest.approx([(3 - index) * math.log(3) for index in range(4)])
    assert slope(states) == pytest.approx(math.log(3))
    assert slope(gradients) == pytest.approx(-math.log(3))


def test_a_size_of_zero_has_no_slope():
    assert slope([0.0, -math.inf, 0.0, 1.0]) is None
