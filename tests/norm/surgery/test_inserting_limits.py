"""Where a norm would do harm none is put in, and a model that fails is as it was."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gainstage as gs
from gainstage.norm import insert


@pytest.mark.parametrize("read_out", [nn.Softmax(-1), nn.LogSoftmax(-1)])
def test_a_softmax_reads_out_and_gets_no_norm(read_out: nn.Module) -> None:
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3), read_out)
    assert [change.module for change in insert(model, torch.randn(4, 8), "batch").changed] == ["0"]


@pytest.mark.parametrize("by", ["layer", "group"])
def test_a_single_value_is_not_normalised(by: str) -> None:
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1), nn.Sigmoid())
    done = insert(model, torch.randn(4, 8), by)
    assert [change.module for change in done.changed] == ["0"]
    assert [left.reason for left in done.left] == ["each statistic would be of one value"]
    assert done.model(torch.randn(4, 8)).std() > 0


def test_one_sample_in_training_is_said_and_in_eval_mode_will_do() -> None:
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    assert "one value on this batch" in insert(model, torch.randn(1, 8), "batch").left[0].reason
    assert len(insert(model.eval(), torch.randn(1, 8), "batch").changed) == 1


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.map(F.relu(self.map(x)))


def test_a_map_that_is_also_the_read_out_is_left() -> None:
    done = insert(Twice(), torch.randn(4, 8), "batch")
    assert not done.changed
    assert "where no activation reads it" in done.left[0].reason


def test_a_model_that_fails_in_place_is_as_it_was() -> None:
    class Looking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.relu(self.map(x)) * self.map.weight.std()

    model = Looking()
    owned = model.map
    with pytest.raises(gs.GainstageError, match="seems to read its maps' weights itself"):
        insert(model, torch.randn(4, 8), "layer", inplace=True)
    assert model.map is owned
