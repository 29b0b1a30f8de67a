"""Which weights are copies, and whether they are pushed alike; the loss over labels without weights and reduction."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gainstage as gs

BATCH = (torch.randn(32, 8), torch.randint(3, (32,)))


def twins(model: nn.Module) -> dict[str, tuple[str, bool | None]]:
    return {p.name: (p.twin, p.twin_gradient) for p in gs.record(model, BATCH).parameters if p.twin is not None}


def test_a_copy_names_the_first_and_biases_are_left_out() -> None:
    first = nn.Linear(8, 8)
    model = nn.Sequential(first, nn.ReLU(), copy.deepcopy(first), nn.ReLU(), copy.deepcopy(first), nn.Linear(8, 3))
    assert twins(model) == {"2.weight": ("0.weight", False), "4.weight": ("0.weight", False)}


def test_one_other_value_makes_another_weight() -> None:
    first = nn.Linear(8, 8)
    second = copy.deepcopy(first)
    with torch.no_grad():
        second.weight[0, :2] = second.weight[0, :2].flip(0)  # the figures stay what they were
    assert twins(nn.Sequential(first, nn.ReLU(), second, nn.Linear(8, 3))) == {}


def test_equal_and_opposite_gradients() -> None:
    class Pair(nn.Module):
        def __init__(self, sign: float) -> None:
            super().__init__()
            self.first, self.sign, self.head = nn.Linear(8, 8), sign, nn.Linear(8, 3)
            self.second = copy.deepcopy(self.first)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.first(x) + self.sign * self.second(x))

    assert twins(Pair(1.0)) == {"second.weight": ("first.weight", True)}
    assert twins(Pair(-1.0)) == {"second.weight": ("first.weight", False)}
    zero = Pair(1.0)
    nn.init.zeros_(zero.head.weight)
    assert twins(zero) == {"second.weight": ("first.weight", None)}


def mean_loss(outputs: torch.Tensor, targets: torch.Tensor, loss: nn.Module) -> float | None:
    record = gs.record(nn.Identity(), (outputs, targets), loss).loss_record
    return None if record is None or record.labels is None else record.labels.mean_loss


def test_mean_loss_of_labels() -> None:
    torch.manual_seed(0)
    outputs, labels = torch.randn(6, 4, 5), torch.randint(4, (6, 5))
    labels[0] = -100
    plain = float(F.cross_entropy(outputs, labels))
    for loss in (nn.CrossEntropyLoss(reduction="sum"), nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 3.0, 4.0]))):
        assert mean_loss(outputs, labels, loss) == pytest.approx(plain, rel=1e-5)
    ones = torch.randint(2, (6, 4, 5)).float()
    logits = float(F.binary_cross_entropy_with_logits(outputs, ones))
    assert mean_loss(outputs, ones, nn.BCEWithLogitsLoss(pos_weight=torch.full((5,), 7.0))) == pytest.approx(logits)
    assert mean_loss(outputs.sigmoid(), ones, nn.BCELoss()) == pytest.approx(logits, rel=1e-5)
    assert mean_loss(outputs, torch.full((6, 5), -100), nn.CrossEntropyLoss()) is None
