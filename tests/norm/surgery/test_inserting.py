"""Norms put in: where an activation reads a map, and nowhere else."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gainstage as gs
from gainstage.norm import insert


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 16)
        self.raw = nn.Parameter(torch.randn(3, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.first(x))
        x = x + torch.tanh(self.second(x))
        return F.gelu(F.linear(x, self.raw))


def test_norms_stand_before_each_activation_and_the_read_out_has_none() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.SiLU(), nn.Flatten(), nn.Linear(128, 3))
    before, batch = copy.deepcopy(model), torch.randn(4, 3, 8, 8)
    done = insert(model, batch, "batch")
    assert [change.module for change in done.changed] == ["0", "2"]
    assert [type(done.model[i].norm) for i in (0, 2)] == [nn.BatchNorm2d] * 2
    norms = [record for record in gs.record(done.model, batch).layers if record.kind == "norm"]
    assert [record.norm.type for record in norms] == ["batch", "batch"]
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), before.state_dict().values(), strict=True)
    )
    assert insert(model, batch, "batch", inplace=True).model is model
    assert isinstance(model[0].norm, nn.BatchNorm2d)


@pytest.mark.parametrize(("by", "kind"), [("batch", nn.BatchNorm1d), ("group", nn.GroupNorm), ("layer", nn.LayerNorm)])
def test_functional_activations_are_seen_and_functional_maps_left(by: str, kind: type[nn.Module]) -> None:
    done = insert(Functional(), torch.randn(4, 8), by)
    assert [change.module for change in done.changed] == ["first", "second"]
    assert isinstance(done.model.first.norm, kind)
    assert [(left.what, left.reason) for left in done.left] == [
        ("linear", "it is called as a function, or by a module of another class")
    ]
    assert done.model(torch.randn(4, 8)).shape == (4, 3)


def test_features_that_are_last_take_a_layer_norm_and_no_other() -> None:
    model, batch = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)), torch.randn(4, 5, 8)
    assert isinstance(insert(model, batch, "layer").model[0].norm, nn.LayerNorm)
    done = insert(model, batch, "batch")
    assert not done.changed
    assert "its features are last" in done.left[0].reason


def test_type_mode_and_shared_modules() -> None:
    shared = nn.Linear(8, 8)
    model = nn.Sequential(shared, nn.ReLU(), shared, nn.ReLU()).double().eval()
    done = insert(model, torch.randn(4, 8, dtype=torch.float64), "batch")
    assert len(done.changed) == 1
    assert done.model[0] is done.model[2]
    assert done.model[0].norm.weight.dtype is torch.float64
    assert not done.model[0].norm.training


def test_where_a_norm_reads_the_map_already_none_is_put_in() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU())
    assert [change.module for change in insert(model, torch.randn(4, 8), "batch").changed] == ["3"]


def test_a_model_that_reads_its_maps_weights_is_said_and_unknown_norms_too() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.relu(self.map(x)) * self.map.weight.std()

    with pytest.raises(gs.GainstageError, match="seems to read its maps' weights itself"):
        insert(Tied(), torch.randn(4, 8), "layer")
    with pytest.raises(gs.GainstageError, match="batch"):
        insert(Tied(), torch.randn(4, 8), "bach")
