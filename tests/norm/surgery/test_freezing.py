"""Frozen norms stay frozen in training mode, through copies and pickles, until they are let go."""

from __future__ import annotations

import copy
import io
from typing import Any

import torch
from torch import nn

from gainstage import norm


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.BatchNorm1d(4, track_running_stats=False))


def pickled(model: nn.Module) -> nn.Module:
    stream = io.BytesIO()
    torch.save(model, stream)
    stream.seek(0)
    return torch.load(stream, weights_only=False)


def test_frozen_norms_apply_their_statistics_whatever_the_mode() -> None:
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(0)) + 3
    for made in (norm.freeze(network()).model, copy.deepcopy(norm.freeze(network()).model),
                 pickled(norm.freeze(network()).model)):  # fmt: skip
        frozen: Any = made.train()
        torch.testing.assert_close(frozen[1](x), x / (1 + 1e-5) ** 0.5)
        assert not frozen[1].running_mean.any()
        assert int(frozen[1].num_batches_tracked) == 0
        assert frozen[1].weight.requires_grad
        free: Any = norm.unfreeze(frozen).model.train()
        free[1](x)
        assert free[1].running_mean.any()


def test_affine_parameters_are_held_only_if_asked() -> None:
    held: Any = norm.freeze(network(), affine=True, inplace=True).model
    assert not held[1].weight.requires_grad
    assert held[0].weight.requires_grad
    assert norm.unfreeze(held, affine=True).model[1].bias.requires_grad
    assert not norm.unfreeze(held).model[1].bias.requires_grad


def test_freezing_twice_is_freezing_once_and_the_original_stays_free() -> None:
    model = network()
    twice: Any = norm.freeze(norm.freeze(model).model).model
    assert len(twice[1]._forward_pre_hooks) == 1
    assert not model[1]._forward_pre_hooks
    assert model[1].training
    assert list(twice.state_dict()) == list(model.state_dict())


def test_what_is_left_is_said() -> None:
    assert [entry.module for entry in norm.freeze(network()).left] == ["2"]
    assert [entry.reason for entry in norm.unfreeze(network()).left] == ["freeze did not hold it"] * 2


def test_frozen_norms_can_be_folded_and_recalibrated() -> None:
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    frozen = norm.freeze(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))).model
    assert norm.fold(frozen, x).changed
    fitted: Any = norm.recalibrate(frozen, x).model
    torch.testing.assert_close(fitted[1].running_mean, frozen[0](x).mean(0))
    assert not fitted.train()[1](x).isnan().any()
