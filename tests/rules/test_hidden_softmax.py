"""ACT006: a softmax in the place of an activation, and where it has a place of its own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import gainstage as gs

X, LABELS = torch.randn(64, 16, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 3


def found(model: nn.Module, inputs: torch.Tensor = X) -> list[str]:
    return [finding.code for finding in gs.check(model, (inputs, LABELS), select="ACT006").findings]


@pytest.mark.parametrize("softmax", [nn.Softmax(dim=1), nn.Softmax(dim=-1), nn.Softmax2d()])
def test_between_two_layers(softmax: nn.Module) -> None:
    if isinstance(softmax, nn.Softmax2d):
        picture = nn.Sequential(nn.Conv2d(3, 16, 3), softmax, nn.Conv2d(16, 8, 3), nn.Flatten(), nn.LazyLinear(3))
        assert found(picture, torch.randn(64, 3, 8, 8)) == ["ACT006"]
    else:
        assert found(nn.Sequential(nn.Linear(16, 32), softmax, nn.Dropout(0.1), nn.Linear(32, 3))) == ["ACT006"]


class Attending(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x @ x.transpose(1, 2)).softmax(-1) @ x


class Mixture(nn.Module):
    """Weights of experts, whose outputs they multiply."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.experts, self.head = nn.Linear(16, 8), nn.Linear(16, 8 * 12), nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = self.gate(x).softmax(-1)
        return self.head((weights[:, :, None] * self.experts(x).view(-1, 8, 12)).sum(1))


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 3), nn.Softmax(1)), X),
        (nn.Sequential(nn.Linear(16, 2), nn.Softmax(1), nn.Linear(2, 3)), X),
        (nn.Sequential(nn.Linear(16, 32), nn.Softmax(1), nn.Linear(32, 3, bias=False)), X),  # a soft choice of rows
        (nn.Sequential(Attending(), nn.Flatten(), nn.Linear(160, 3)), torch.randn(64, 10, 16)),
        (Mixture(), X),
    ],
)
def test_where_it_belongs(model: nn.Module, inputs: torch.Tensor) -> None:
    assert found(model, inputs) == []
