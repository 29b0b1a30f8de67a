"""What no map can be made of is said in one line."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import gainstage as gs
from gainstage.errors import InputError
from gainstage.sweep.cells import Row
from gainstage.sweep.trainability import map_of_rows, trainability_map


def subject() -> gs.Subject:
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    return gs.Subject(model, (torch.randn(8, 8), torch.randint(3, (8,))))


def test_a_map_without_variants_is_refused() -> None:
    with pytest.raises(InputError, match="norms must be one at least, got none"):
        trainability_map(subject(), norms=())


@pytest.mark.parametrize("scales", [(10.0, 100.0), (0.01, 0.1)])
def test_a_map_without_the_models_own_scale_is_refused(scales: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="scales must go from 1 or less to 1 or more"):
        trainability_map(subject(), scales=scales)


def test_rows_at_a_learning_rate_of_zero_are_refused() -> None:
    rows = [Row("a", {"lr": lr}, (0, 10), {"train_loss": (2.0, 1.0)}) for lr in (0.0, 0.1)]
    with pytest.raises(InputError, match="lr and scale must be positive, got 0"):
        map_of_rows(rows)
