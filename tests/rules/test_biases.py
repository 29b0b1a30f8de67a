"""INI005: biases that drown what their layer reads, and those that are large on purpose."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import gainstage as gs

INPUTS, LABELS = torch.randn(64, 16), torch.randint(3, (64,))


def mlp(activation: Callable[[], nn.Module], bias: float, *, std: float = 0.0) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), activation(), nn.Linear(32, 32), activation(), nn.Linear(32, 3))
    for linear in (model[0], model[2]):
        nn.init.normal_(linear.bias, bias, std)
    return model


def layers(model: nn.Module, batch: object = (INPUTS, LABELS)) -> list[str]:
    return [name for finding in gs.check(model, batch, select="INI005").findings for name in finding.layers]


@pytest.mark.parametrize(
    ("activation", "bias", "std", "expected"),
    [
        (nn.ReLU, 0.1, 0.0, []), (nn.ReLU, 1.0, 0.0, []), (nn.GELU, 3.0, 0.0, []), (nn.Tanh, 1.0, 0.0, []),
        (nn.ReLU, 20.0, 0.0, ["0"]), (nn.GELU, -20.0, 0.0, ["0"]), (nn.Tanh, 0.0, 30.0, ["0", "2"]),
        (nn.Tanh, 10.0, 0.0, ["0", "2"]),
        (nn.Sigmoid, -20.0, 0.0, []), (nn.Softplus, -20.0, 0.0, []), (nn.Identity, 20.0, 0.0, []),
    ],
)  # fmt: skip
def test_hidden_biases(activation: Callable[[], nn.Module], bias: float, std: float, expected: list[str]) -> None:
    assert layers(mlp(activation, bias, std=std)) == expected


def test_a_readouts_bias_is_the_targets_mean_or_the_log_odds() -> None:
    regression = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1), nn.ReLU())
    nn.init.constant_(regression[2].bias, 400.0)
    assert layers(regression[:3], (INPUTS, torch.randn(64, 1) + 400)) == []
    rare = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 3))
    nn.init.constant_(rare[2].bias, -20.0)
    assert layers(rare) == []


def test_an_output_that_is_held_above_zero_is_a_readout_too() -> None:
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1), nn.ReLU())
    nn.init.constant_(model[2].bias, 400.0)
    assert layers(model, (INPUTS, torch.rand(64, 1) + 400)) == []


def test_frozen_layers_and_zero_weights_are_as_they_were_meant() -> None:
    frozen = mlp(nn.ReLU, 20.0)
    frozen[0].requires_grad_(False)
    assert layers(frozen) == []
    zero = mlp(nn.ReLU, 1.0)
    nn.init.zeros_(zero[2].weight)
    nn.init.constant_(zero[2].bias, 20.0)
    assert layers(zero) == []


def test_a_norm_behind_takes_the_bias_away() -> None:
    model = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 3))
    nn.init.constant_(model[0].bias, 20.0)
    assert layers(model) == []


def test_gates_of_recurrent_cells() -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.head = nn.LSTM(16, 32, batch_first=True), nn.Linear(32, 3)
            with torch.no_grad():
                self.cell.bias_hh_l0[32:64].fill_(20.0)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.cell(x)[0][:, -1])

    assert layers(Reader(), (torch.randn(64, 5, 16), LABELS)) == []
