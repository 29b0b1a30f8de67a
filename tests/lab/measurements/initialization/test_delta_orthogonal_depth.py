import pytest
import torch

from gainstage.lab.catalogue.initialization.delta_orthogonal_depth import DeltaDesign
from gainstage.lab.measurements.initialization.delta_orthogonal_depth import PlainStack, measure
from gainstage.seeding import generator

SMALL = DeltaDesign(seeds=2, depth=4, channels=4, size=3, points=4)


@pytest.mark.parametrize("draw", ["delta", "gaussian"])
def test_gradients_are_those_of_autograd(draw):
    stack = PlainStack(SMALL, 0, draw)
    first, top = torch.randn(2, 1, 4, 3, 3, generator=generator(0)).double()
    leaf = first.clone().requires_grad_()
    before = stack.forward(leaf)
    (expected,) = torch.autograd.grad(before[-1], leaf, top)
    found = stack.backward([z.detach() for z in before], top)
    assert torch.allclose(found[-1], expected)
    assert len(found) == len(before) == SMALL.depth + 1


def test_the_edge_is_that_of_the_paper():
    # paper: Xiao et al. 2018 have σ_w² = 1.05 for σ_b² = 2.01e-5
    assert PlainStack(SMALL, 0, "delta").weight_var == pytest.approx(1.05, abs=5e-4)


def test_curves_start_at_one_at_their_own_ends():
    layers = [row for row in measure(SMALL, 0) if row["kind"] == "layer"]
    assert layers[0]["signal"] == 1.0
    assert layers[-1]["gradient"] == 1.0
