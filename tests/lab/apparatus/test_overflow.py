import math

import pytest
import torch
from torch import nn

from gainstage.lab.apparatus.networks import mlp
from gainstage.lab.apparatus.overflow import beyond, first_overflow, he_network, scaled, scales

HALF = torch.float16


def parts(weight=1.0, *more):
    layer = nn.Linear(2, 2, bias=False)
    nn.init.eye_(layer.weight)
    return [scaled(layer, weight), *more]


@pytest.mark.parametrize("autocast", [False, True])
def test_the_largest_product_of_float16(autocast):
    batch = torch.tensor([[1.0, -2.0], [0.5, 1.0]])
    assert first_overflow(parts(32752.0), batch, None, dtype=HALF, autocast=autocast) is None
    found = first_overflow(parts(32768.0), batch, None, dtype=HALF, autocast=autocast)
    assert (found.op, found.product, found.nan, found.inf) == ("product", 1, 0, 1)
    assert first_overflow(parts(32768.0), batch, None, dtype=torch.bfloat16, autocast=autocast) is None


def test_a_weight_that_does_not_fit_is_found_before_its_product():
    found = first_overflow(parts(1e5), torch.ones(2, 2), None, dtype=HALF, autocast=False)
    assert (found.op, found.inf) == ("weight", 2)


def test_a_later_product_and_what_is_not_a_number():
    class Difference(nn.Module):
        def forward(self, x):
            return x * math.inf - x * math.inf

    network = [*parts(1.0, nn.BatchNorm1d(2)), *parts(1e5)]
    found = first_overflow(network, torch.eye(2), None, dtype=torch.bfloat16, autocast=False)
    assert found is None
    found = first_overflow(parts(1.0, Difference()), torch.ones(1, 2), None, dtype=HALF, autocast=False)
    assert (found.op, found.product, found.nan) == ("other", 1, 2)


def test_a_gradient_that_does_not_fit():
    # forward: 1e-3 · 1e3; backward into the first weight: 6e4 · 2 · 0.5
    network = [*parts(1e-4), *parts(6e4)]
    inputs = torch.tensor([[0.0, 4.0]])
    assert first_overflow(network, inputs, None, dtype=HALF, autocast=False) is None
    network = [*parts(1e-4), *parts(6e4)]
    found = first_overflow(network, inputs, torch.tensor([0]), dtype=HALF, autocast=False)
    assert found.op == "gradient"


def test_the_same_weights_with_and_without_norms():
    pair = [he_network(mlp, 3, depth=3, norm=norm) for norm in ("none", "batch")]
    first, second = ([p for p in model.parameters() if p.dim() == 2] for model in pair)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert float(first[1].detach().var()) == pytest.approx(2 / 64, rel=0.1)


def test_the_grid_goes_on_evenly():
    grid = scales(2, 4)
    assert (grid[0], grid[-1], len(grid)) == (1.0, 100.0, 9)
    assert beyond(grid) == pytest.approx(10**2.25)
