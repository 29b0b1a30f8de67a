"""INI008: weights of several maps that were drawn as one, and draws that only look like it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import gainstage as gs

Draw = Callable[[torch.Tensor], object]


def fan_out(weight: torch.Tensor) -> object:
    return nn.init.kaiming_normal_(weight, mode="fan_out")


def findings(model: nn.Module, shape: tuple[int, ...]) -> list[float]:
    def loss(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        outputs = model(batch)
        return (outputs[0] if isinstance(outputs, tuple) else outputs).square().mean()

    report = gs.check(gs.Subject(model, torch.randn(shape), forward=loss), select="INI008")
    return [round(f.value or 0.0, 1) for f in report.findings]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("draw", [nn.init.xavier_uniform_, nn.init.xavier_normal_, fan_out])
def test_gates(kind: Callable[..., nn.Module], draw: Draw) -> None:
    torch.manual_seed(0)
    assert findings(kind(32, 64, batch_first=True), (8, 5, 32)) == []
    packed, apart = kind(32, 64, batch_first=True), kind(32, 64, batch_first=True)
    for weight in (packed.weight_hh_l0, packed.weight_ih_l0):
        draw(weight)
    for weight in (apart.weight_hh_l0, apart.weight_ih_l0):
        for gate in weight.data.chunk(weight.shape[0] // 64):
            draw(gate)
    assert len(findings(packed, (8, 5, 32))) == 1
    assert findings(apart, (8, 5, 32)) == []


def test_a_plain_recurrent_network_has_no_gates() -> None:
    model = nn.RNN(32, 64, batch_first=True)
    nn.init.xavier_uniform_(model.weight_hh_l0)
    assert findings(model, (8, 5, 32)) == []


def test_attention() -> None:
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    assert findings(model, (8, 5, 32)) == [1.4]
    for part in model.self_attn.in_proj_weight.data.chunk(3):
        nn.init.xavier_uniform_(part)
    assert findings(model, (8, 5, 32)) == []
    nn.init.normal_(model.self_attn.in_proj_weight, std=0.02)
    assert findings(model, (8, 5, 32)) == []


def depthwise(norm: type[nn.Module]) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 64, 1), nn.ReLU(), nn.Conv2d(64, 64, 3, groups=64), norm(64), nn.ReLU(), nn.Flatten(),
        nn.Linear(64 * 36, 3),
    )  # fmt: skip


def test_groups() -> None:
    model = depthwise(nn.Identity)
    assert findings(model, (8, 3, 8, 8)) == []
    nn.init.kaiming_normal_(model[2].weight)
    assert findings(model, (8, 3, 8, 8)) == []
    fan_out(model[2].weight)
    assert findings(model, (8, 3, 8, 8)) != []
    nn.init.normal_(model[2].weight, std=(2 / (9 * 64)) ** 0.5)  # as if every channel were summed
    assert findings(model, (8, 3, 8, 8)) != []


def test_a_norm_behind_sets_the_level_anew() -> None:
    model = depthwise(nn.BatchNorm2d)
    fan_out(model[2].weight)
    assert findings(model, (8, 3, 8, 8)) == []


def test_a_stack_of_matrices() -> None:
    class Experts(nn.Module):
        def __init__(self, draw: Draw) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.empty(4, 16, 32))
            draw(self.weight)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.bmm(x.expand(4, -1, -1), self.weight).relu().mean(0)

    def each(weight: torch.Tensor) -> None:
        for matrix in weight.data:
            nn.init.xavier_uniform_(matrix)

    assert len(findings(Experts(nn.init.xavier_uniform_), (8, 16))) == 1
    assert findings(Experts(each), (8, 16)) == []


def test_frozen_weights_are_as_they_are() -> None:
    model = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    model.self_attn.in_proj_weight.requires_grad_(False)
    assert findings(model, (8, 5, 32)) == []
