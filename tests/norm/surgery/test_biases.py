"""Biases that a norm takes away are dropped; train and eval mode stay as they were."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from gainstage import norm


def maps() -> torch.Tensor:
    return torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def block(layer: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), layer, nn.ReLU(), nn.Conv2d(4, 2, 3)).double()
    model(2 * maps() + 1)
    return model


DROPPED = [nn.BatchNorm2d(4), nn.SyncBatchNorm(4), nn.InstanceNorm2d(4), nn.GroupNorm(4, 4),
           nn.InstanceNorm2d(4, track_running_stats=True)]  # fmt: skip


@pytest.mark.parametrize("layer", DROPPED, ids=str)
def test_both_modes_stay_as_they_were(layer: nn.Module) -> None:
    model = block(copy.deepcopy(layer))
    result = norm.drop_redundant_biases(model, maps())
    assert [change.module for change in result.changed] == ["0"]
    assert result.model[0].bias is None
    assert result.model[3].bias is not None
    for training in (False, True):
        torch.testing.assert_close(
            copy.deepcopy(result.model).train(training)(maps()), copy.deepcopy(model).train(training)(maps())
        )


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.GroupNorm(2, 4), "only what all its channels have in common"),
        (nn.GroupNorm(1, 4), "GroupNorm (1) takes away"),
        (nn.LayerNorm([4, 6, 6]), "LayerNorm"),
    ],
    ids=str,
)
def test_norms_over_several_channels_keep_what_differs(layer: nn.Module, reason: str) -> None:
    result = norm.drop_redundant_biases(block(copy.deepcopy(layer)), maps())
    assert not result.changed
    assert reason in result.left[0].reason


def test_a_bias_that_others_see_or_share_is_kept() -> None:
    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            return y + self.norm(y)

    assert "also reads it" in norm.drop_redundant_biases(Skip().double(), maps()).left[0].reason
    tied = block(nn.BatchNorm2d(4))
    tied.other = nn.ParameterDict({"bias": tied[0].bias})
    result = norm.drop_redundant_biases(tied, maps(), forward=lambda model, x: model[1](model[0](x)))
    assert "shared (0.bias, other.bias)" in result.left[0].reason


def test_the_original_keeps_its_bias() -> None:
    model = block(nn.BatchNorm2d(4))
    mean = model[1].running_mean.clone()
    norm.drop_redundant_biases(model, maps())
    assert model[0].bias is not None
    assert torch.equal(model[1].running_mean, mean)
