"""Every probe leaves model, optimizer, gradients, buffers, modes and generators bit for bit, also when it fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from gainstage.errors import SubjectError
from gainstage.landscape import (
    covariate_shift,
    effective_lr,
    gradient_noise,
    output_alignment,
    representation_ranks,
    residual_balance,
    smoothness,
    weight_ranks,
)
from gainstage.trace import Subject, serialization
from landscape.quadratics import same, state_of

PROBES: dict[str, Callable[[Subject], Any]] = {
    "smoothness": lambda s: smoothness(s, lr=0.1),
    "covariate_shift": covariate_shift,
    "gradient_noise": gradient_noise,
    "gradient_noise in eval mode": lambda s: gradient_noise(s, norms="eval"),
    "output_alignment": output_alignment,
    "residual_balance": residual_balance,
    "representation_ranks": representation_ranks,
    "effective_lr": effective_lr,
    "weight_ranks": lambda s: weight_ranks(s.model),
}


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.map = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 8)
        self.drop, self.head = nn.Dropout(0.5), nn.Linear(8, 3)
        self.fails = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + torch.relu(self.drop(self.map(self.norm(x))).mul_(0.5))
        if self.fails:
            raise ArithmeticError("made to fail")
        return self.head(x)


def subject() -> Subject:
    model = Network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    batches = [(torch.randn(16, 6), torch.randint(3, (16,))) for _ in range(2)]
    nn.functional.cross_entropy(model(batches[0][0]), batches[0][1]).backward()
    optimizer.step()
    model.drop.eval()
    return Subject(model, batches, optimizer=optimizer)


@pytest.mark.parametrize("name", PROBES)
def test_nothing_changes_and_equal_calls_give_equal_figures(name: str) -> None:
    given = subject()
    before, batch = state_of(given), given.batches.first()[0].clone()
    first = PROBES[name](given)
    assert same(before, state_of(given))
    assert torch.equal(batch, given.batches.first()[0])
    assert PROBES[name](given) == first
    assert not any(module._forward_hooks for module in given.model.modules())


@pytest.mark.parametrize("name", [name for name in PROBES if name != "weight_ranks"])
def test_nothing_changes_when_it_fails(name: str) -> None:
    given = subject()
    given.model.fails = True
    before = state_of(given)
    with pytest.raises(SubjectError, match="made to fail"):
        PROBES[name](given)
    assert same(before, state_of(given))


@pytest.mark.parametrize("name", [name for name in PROBES if "rank" not in name])
def test_records_are_plain(name: str) -> None:
    assert '"' in serialization.to_json(PROBES[name](subject()))
