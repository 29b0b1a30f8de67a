"""Layers of single samples, and learnt scalars: what they are for, beyond the contract."""

from __future__ import annotations

import math

import pytest
import torch
import torch.distributed as dist
from torch import nn

from gainstage.errors import InputError
from gainstage.norm.layers import (
    LAYERS,
    EvoNormS0,
    FilterResponseNorm,
    FixupBias,
    FixupMultiplier,
    LayerScale,
    SkipInit,
    ThresholdedLinearUnit,
)


def test_filter_responses_have_mean_square_one_by_sample_and_channel() -> None:
    x = 5 * torch.randn(3, 4, 6, 6) + 2
    assert FilterResponseNorm(4)(x).square().mean((2, 3)).tolist() == [pytest.approx([1.0] * 4, rel=1e-5)] * 3


def test_a_single_position_becomes_its_sign_unless_eps_is_learnt() -> None:
    x = torch.tensor([[0.5, -0.02], [-3.0, 0.01]], requires_grad=True)
    assert torch.allclose(FilterResponseNorm(2)(x).detach(), x.detach().sign(), atol=6e-3)
    learnt = FilterResponseNorm(2, learnable_eps=True)(x).detach()
    # closed form: x/√(x² + 1e-4)
    assert learnt[1, 1].tolist() == pytest.approx(0.01 / math.sqrt(2e-4), rel=5e-3)
    with pytest.raises(InputError, match="FilterResponseNorm: eps must be positive and finite, got 0"):
        FilterResponseNorm(2, 0)


def test_the_threshold_is_relu_between_two_biases() -> None:
    unit, x = ThresholdedLinearUnit(3), torch.randn(5, 3, 4)
    unit.tau.data = torch.tensor([0.3, -0.4, 0.0])
    tau = unit.tau.view(1, 3, 1)
    assert torch.allclose(unit(x), (x - tau).relu() + tau)


def test_evonorm_is_swish_over_group_norm() -> None:
    norm, x = EvoNormS0(8, 2), torch.randn(4, 8, 5, 5)
    # closed form: with γ = 1 and β = 0 it is silu(x)/σ, where group norm is (x - μ)/σ.
    rows = x.reshape(4, 2, -1)
    std = (rows.var(2, correction=0) + 1e-5).sqrt().repeat_interleave(4, 1)[..., None, None]
    assert torch.allclose(norm(x), nn.functional.silu(x) / std, atol=1e-6)
    with pytest.raises(InputError, match=r"two or more values in each of 4 groups, got shape \(2, 4\). Use fewer"):
        EvoNormS0(4, 4)(torch.randn(2, 4))
    with pytest.raises(InputError, match="groups must divide num_features, got 0 for 4"):
        EvoNormS0(4, 0)


@pytest.mark.parametrize(("build", "starts_from"), [(SkipInit, 0.0), (FixupMultiplier, 1.0), (FixupBias, 0.0)])
def test_scalars_start_as_their_papers_have_them(build: type[nn.Module], starts_from: float) -> None:
    # One-dimensional, for sharding takes no parameters without dimensions.
    assert [parameter.tolist() for parameter in build().parameters()] == [[starts_from]]
    assert [parameter.tolist() for parameter in build(0.25).parameters()] == [[0.25]]


def test_layer_scale_where_the_channels_are() -> None:
    scale = LayerScale(4, 0.5, dim=-1)
    scale.weight.data = torch.arange(4.0)
    assert scale(torch.ones(2, 3, 4)).sum((0, 1)).tolist() == [0, 6, 12, 18]
    other = LayerScale(3, 0.5)
    assert other(torch.ones(2, 3, 4)).sum().tolist() == 12
    with pytest.raises(InputError, match=r"LayerScale: input must have 4 channels in dimension -1, got shape"):
        scale(torch.ones(2, 4, 3))


def test_a_residual_network_with_skipinit_starts_as_the_identity() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branch = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), SkipInit())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.branch(x)

    x = torch.randn(4, 8)
    model = nn.Sequential(*[Block() for _ in range(100)])
    assert torch.equal(model(x), x)
    model(x).square().sum().backward()
    assert all(float(block.branch[-1].alpha.grad.abs()) > 0 for block in model)


@pytest.mark.skipif(not dist.is_available(), reason="torch without torch.distributed")
def test_all_layers_train_in_a_process_group() -> None:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        stages = [m for build in LAYERS.values() for m in (nn.Conv1d(8, 8, 3, padding=1), build(8))]
        model = nn.parallel.DistributedDataParallel(nn.Sequential(*stages))
        optimizer = torch.optim.SGD(model.parameters(), 1e-3)
        for _ in range(2):
            optimizer.zero_grad()
            model(torch.randn(6, 8, 4)).square().mean().backward()
            optimizer.step()
        assert all(p.grad is not None and bool(p.isfinite().all()) for p in model.parameters())
    finally:
        dist.destroy_process_group()
