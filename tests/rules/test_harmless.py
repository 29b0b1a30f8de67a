"""Faults that networks make up for, and those beside them that they do not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import gainstage as gs

X, LABELS = torch.randn(64, 32, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 10


def warned(model: nn.Module, inputs: torch.Tensor = X, targets: torch.Tensor = LABELS, **options: object) -> list[str]:
    return [f.code for f in gs.check(model, (inputs, targets), **options).findings if f.severity != "info"]


def mlp(depth: int = 6, norm: type[nn.Module] | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(32, 32), *([norm(32)] if norm else []), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(32, 10))
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
    return model


def scaled(model: nn.Sequential, places: list[int], factor: float) -> nn.Sequential:
    maps = [layer for layer in model if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for place in places:
            maps[place].weight.mul_(factor)
    return model


@pytest.mark.parametrize("factor", [0.1, 1e-3, 1e-5])
def test_one_small_layer_is_made_up_for(factor: float) -> None:
    assert warned(scaled(mlp(), [2], factor)) == []


def test_several_small_layers_are_not() -> None:
    assert warned(scaled(mlp(), [1, 2, 3, 4], 0.03))[0] == "INI002"


def test_samples_that_one_layer_makes_alike_beside_its_bias() -> None:
    model = scaled(mlp(), [3], 1e-4)
    nn.init.normal_(model[6].bias)
    report = gs.check(model, (X, LABELS), select="INI009")
    assert [finding.severity for finding in report.findings] == ["info"]


@pytest.mark.parametrize("scale", [1000.0, 0.02])
@pytest.mark.parametrize("norm", [nn.BatchNorm1d, nn.LayerNorm])
def test_a_norm_behind_the_first_layer_takes_the_inputs_scale(norm: type[nn.Module], scale: float) -> None:
    assert warned(mlp(2, norm), X * scale) == []
    assert warned(mlp(2), X * scale)[0] == "DAT001"


@pytest.mark.parametrize(
    "inputs", [X + 100, torch.cat((X[:, :1] * 1e4, X[:, 1:]), 1), X * 1e-5], ids=["offset", "one feature", "below ε"]
)
def test_and_nothing_else(inputs: torch.Tensor) -> None:
    assert warned(mlp(2, nn.BatchNorm1d), inputs)[0] == "DAT001"


def test_a_large_level_before_a_norm_divides_the_gradient_there_alone() -> None:
    model = scaled(mlp(4, nn.BatchNorm1d), [0], 1e4)
    assert [f.code for f in gs.check(model, (X, LABELS), select="GRD001").findings] == []


def test_layers_that_were_frozen_as_they_were_drawn() -> None:
    model = mlp(3)
    model[:4].requires_grad_(False)
    (fresh,) = gs.check(model, (X, LABELS), select="GRD003").findings
    assert (fresh.severity, fresh.evidence["kind"]) == ("info", "frozen")
    trained = scaled(mlp(3), [0, 1], 1.37)
    trained[:4].requires_grad_(False)
    assert gs.check(trained, (X, LABELS), select="GRD003").findings == ()


def test_an_optimizer_without_the_biases() -> None:
    model = mlp(3)
    weights = [p for name, p in model.named_parameters() if name != "2.bias"]
    report = gs.check(model, (X, LABELS), optimizer=torch.optim.SGD(weights, lr=0.1), select="OPT006")
    assert [finding.severity for finding in report.findings] == ["info"]


def test_a_small_rate_is_found_by_a_trial_that_stands_still() -> None:
    def codes(lr: float, steps: int) -> list[str]:
        model = mlp(2)
        optimizer = torch.optim.SGD(model.parameters(), lr=lr)
        return warned(model, optimizer=optimizer, steps=steps, select="OPT002")

    assert codes(2e-4, 0) == []
    assert codes(2e-4, 200) == ["OPT002"]
    assert codes(1e-1, 200) == []


@pytest.mark.parametrize("place", ["inputs", "targets"])
def test_a_batch_that_is_spoilt_later_is_named(place: str) -> None:
    inputs, targets = X[:, :1].repeat(4, 1).split(64), X[:, 1:2].repeat(4, 1).split(64)
    batches = [(x.clone(), y.clone()) for x, y in zip(inputs, targets, strict=True)]
    batches[2][0 if place == "inputs" else 1][5] = torch.nan
    model = nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    report = gs.check(model, batches, optimizer=optimizer, steps=8)
    first, *others = [finding for finding in report.findings if finding.severity != "info"]
    assert (first.code, first.cause) == ("NUM001", "data")
    assert "batch 2" in first.message
    assert {finding.consequence_of for finding in others} <= {"NUM001"}


def test_targets_that_are_all_one_number() -> None:
    constant = torch.full((64, 1), 3.0)
    model = nn.Sequential(nn.Linear(32, 8), nn.ReLU(), nn.Linear(8, 1))
    assert [f.code for f in gs.check(model, (X, constant), select="DAT002").findings] == ["DAT002"]
    assert gs.check(model, (X, constant + torch.randn(64, 1)), select="DAT002").findings == ()
    assert gs.check(model, (X[:8], constant[:8]), select="DAT002").findings == ()


def test_nothing_in_float16_on_the_way_is_no_crash() -> None:
    class Half(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x.half()).float()

    model = nn.Sequential(nn.Linear(32, 16), Half(), nn.Linear(16, 10))
    assert gs.check(model, (X, LABELS), select="NUM003").findings == ()


def test_a_few_sigmoids_in_a_row() -> None:
    def stack(depth: int, activation: type[nn.Module]) -> nn.Sequential:
        torch.manual_seed(0)
        layers = [layer for _ in range(depth) for layer in (nn.Linear(32, 32), activation())]
        return nn.Sequential(*layers, nn.Linear(32, 10))

    assert warned(stack(4, nn.Sigmoid), select="GRD001") == ["GRD001"]
    assert warned(stack(2, nn.Sigmoid), select="GRD001") == []
    assert warned(stack(4, nn.Tanh), select="GRD001") == []


class Reader(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cell, self.head = nn.LSTM(8, 32, batch_first=True), nn.Linear(32, 3)
        with torch.no_grad():
            self.cell.weight_ih_l0.mul_(scale)
            self.cell.weight_hh_l0.mul_(scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.cell(x)[0][:, -1])


@pytest.mark.parametrize(("scale", "expected"), [(1.0, []), (3.0, []), (100.0, ["ACT002"])])
def test_gates_of_a_recurrent_layer(scale: float, expected: list[str]) -> None:
    inputs = torch.randn(64, 10, 8, generator=torch.Generator().manual_seed(0))
    assert warned(Reader(scale), inputs, LABELS % 3, select="ACT002") == expected
