import math

import pytest
import torch
from torch import nn

from gainstage.lab.apparatus.networks import mlp, residual_mlp
from gainstage.lab.measurements.normalization.channel_moments_depth import moments, slope


def test_the_slope_is_that_of_an_exponential():
    # closed_form
    assert slope([2.0**place for place in range(6)]) == pytest.approx(math.log(2))


@pytest.mark.parametrize("values", [[1.0], [1.0, 0.0], [1.0, math.inf], [1.0, math.nan]])
def test_no_slope_without_logarithms(values):
    assert slope(values) is None


def test_places_are_the_blocks_or_the_hidden_maps():
    inputs = torch.randn(8, 64)
    assert len(moments(residual_mlp(blocks=3, norm="batch"), inputs)) == 3
    assert len(moments(mlp(depth=4), inputs)) == 4


def test_the_moments_are_those_of_the_output():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    inputs = torch.randn(8, 4)
    ((variance, mean),) = moments(model, inputs)
    hidden = model[0](inputs).detach().double()
    assert variance == pytest.approx(float(hidden.var(0, correction=0).mean()))
    assert mean == pytest.approx(float(hidden.mean(0).square().mean()))


def test_positions_count_as_samples():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(2 * 9, 2))
    inputs = torch.randn(4, 1, 3, 3)
    ((variance, _),) = moments(model, inputs)
    hidden = model[0](inputs).detach().double()
    assert variance == pytest.approx(float(hidden.var((0, 2, 3), correction=0).mean()))
