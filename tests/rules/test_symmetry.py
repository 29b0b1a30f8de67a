"""INI001: units that stay alike, and units that a closed branch keeps alike until its first step."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import gainstage as gs

BATCH = torch.randn(32, 16), torch.arange(32) % 3


class Gated(nn.Module):
    """A branch that ends in zeros, with a gate of zeros beside values that are drawn, or alike."""

    def __init__(self, drawn: bool) -> None:
        super().__init__()
        self.gate, self.value, self.end = (nn.Linear(16, 16, bias=False) for _ in range(3))
        for layer in (self.gate, self.end):
            nn.init.zeros_(layer.weight)
        if not drawn:
            nn.init.constant_(self.value.weight, 0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.end(torch.sigmoid(self.gate(x)) * self.value(x))


@pytest.mark.parametrize(("drawn", "expected"), [(True, []), (False, ["INI001"])])
def test_a_gate_of_zeros_in_a_branch_that_ends_in_zeros(drawn: bool, expected: list[str]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 16), Gated(drawn), nn.Linear(16, 3))
    assert [finding.code for finding in gs.check(model, BATCH, select="INI001").findings] == expected


def test_a_gate_of_zeros_learns_to_tell_its_units_apart() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 16), block := Gated(drawn=True), nn.Linear(16, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(BATCH[0]), BATCH[1]).backward()
        optimizer.step()
    assert float(block.gate.weight.detach().std(0).min()) > 0
