"""Branch scale: recursions against networks, and how the critical scale falls with depth."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gainstage.errors import InputError
from gainstage.theory import (
    Activate,
    Affine,
    Norm,
    Residual,
    Signal,
    activation,
    critical_residual_scale,
    predict,
    residual_gradient_growth,
    residual_second_moments,
)

RELU = activation("relu")


def network_growth(depth, scale, *, width=128, seeds=6, normalized=False):
    """Twin: E h² behind each block, and the squared gradient in front of the first, of real networks."""
    generator = torch.Generator().manual_seed(depth)
    squares, gradients = [], []
    for _ in range(seeds):
        x = torch.randn(32, width, generator=generator)
        x = (x / x.square().mean(1, keepdim=True).sqrt()).requires_grad_()
        h, found = x, [1.0]
        for _ in range(depth):
            inside = torch.nn.functional.layer_norm(h, (width,)) if normalized else h
            weight = torch.randn(width, width, generator=generator) * math.sqrt(2 / width)
            h = h + scale * torch.relu(inside) @ weight.T
            found.append(h.detach().square().mean().item())
        top = torch.randn(h.shape, generator=generator)
        (gradient,) = torch.autograd.grad(h, x, top)
        squares.append(found)
        gradients.append((gradient.square().mean() / top.square().mean()).item())
    return np.mean(squares, axis=0), float(np.mean(gradients))


@pytest.mark.parametrize(("depth", "scale"), [(16, 0.25), (8, 0.6), (24, 24**-0.5)])
def test_recursions_against_networks(depth, scale):
    squares, gradient = network_growth(depth, scale)
    assert squares == pytest.approx(residual_second_moments(depth, scale), rel=0.2)
    assert gradient == pytest.approx(residual_gradient_growth(depth, scale)[-1], rel=0.25)


def test_normalized_branches_grow_linearly():
    squares, _ = network_growth(16, 1.0, normalized=True)
    assert squares == pytest.approx(residual_second_moments(16, 1.0, normalized=True), rel=0.15)
    # Control: the recursion of plain branches is off by orders of magnitude.
    assert residual_second_moments(16, 1.0)[-1] > 1000 * squares[-1]


def test_one_over_root_depth_is_critical_in_networks():
    """Only that scale gives a growth that does not depend on depth: L^(-1/4) explodes, 1/L does nothing."""
    growth = {
        power: [network_growth(depth, depth**-power, seeds=3)[0][-1] for depth in (8, 64)] for power in (0.25, 0.5, 1.0)
    }
    assert growth[0.5] == pytest.approx([math.e, math.e], rel=0.25)
    assert growth[0.25][1] > 50 * growth[0.25][0]
    assert growth[1.0][1] < 1.1


@given(depth=st.integers(1, 5000), gain=st.floats(0.1, 3), growth=st.floats(1.1, 50))
def test_critical_scale_gives_the_growth(depth, gain, growth):
    alpha = critical_residual_scale(depth, branch_gain=gain, growth=growth)
    assert residual_second_moments(depth, alpha, branch_gain=gain)[-1] == pytest.approx(growth, rel=1e-9)


# kind, depth, α·√L: towards 1 for many blocks
@pytest.mark.parametrize(("kind", "depth", "product"), [("closed_form", 100, 1.0), ("closed_form", 10_000, 1.0)])
def test_critical_scale_is_one_over_root_depth(kind, depth, product):
    assert kind == "closed_form"
    assert critical_residual_scale(depth) * math.sqrt(depth) == pytest.approx(product, abs=1 / depth)


@given(depth=st.integers(1, 12), scale=st.floats(0, 1.5, allow_subnormal=False), normalized=st.booleans())
def test_is_what_predict_gives(depth, scale, normalized):
    branch = (Activate(RELU), Affine(64, 2.0))
    if normalized:
        branch = (Norm("rms"), *branch)
    levels = predict([Affine(64, 1.0), *[Residual(branch, scale=scale)] * depth], Signal(64))
    squares = [level.forward.rms**2 for level in levels]
    assert squares == pytest.approx(residual_second_moments(depth, scale, normalized=normalized).tolist(), rel=1e-9)
    if not normalized:
        growth = [level.gradient.rms**2 for level in reversed(levels)]
        assert growth == pytest.approx(residual_gradient_growth(depth, scale).tolist(), rel=1e-9)


def test_scales_and_depths_may_be_arrays():
    scales = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    grid = residual_second_moments(5, scales)
    assert grid.shape == (6, 2, 3)
    assert grid[-1, 1, 0] == pytest.approx(residual_second_moments(5, 0.4)[-1])
    assert critical_residual_scale(np.array([[4, 9]])).shape == (1, 2)
    assert residual_second_moments(5000, 2.0)[-1] == math.inf


def test_refuses():
    with pytest.raises(InputError, match=r"^critical_residual_scale: depth must be at least 1, got 0\. "):
        critical_residual_scale(0)
    with pytest.raises(InputError, match=r"^critical_residual_scale: growth must be above 1 and finite, got 1\. "):
        critical_residual_scale(4, growth=1)
    with pytest.raises(InputError, match=r"^residual_second_moments: depth must be at least 0, got -1\. "):
        residual_second_moments(-1, 0.1)
    with pytest.raises(InputError, match=r"^residual_gradient_growth: scale must be finite, got nan\. "):
        residual_gradient_growth(1, math.nan)
