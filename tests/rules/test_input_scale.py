"""DAT001: what reaches the first layer is what counts; whole numbers that no table looks up."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import gainstage as gs

COUNTS = torch.randint(0, 2000, (64, 8), generator=torch.Generator().manual_seed(0)).float()
LABELS = torch.arange(64) % 3


class Prepared(nn.Module):
    """Brings its inputs to scale itself, or only shifts them."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.net, self.how = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3)), how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        prepared = {"log": lambda: x.log1p() / 5, "standard": lambda: (x - 1000) / 577, "shifted": lambda: x - 1000}
        return self.net(prepared[self.how]())


def spoken(model: nn.Module, inputs: torch.Tensor) -> list[str]:
    return [finding.code for finding in gs.check(model, (inputs, LABELS), select="DAT001").findings]


@pytest.mark.parametrize(("how", "expected"), [("log", []), ("standard", []), ("shifted", ["DAT001"])])
def test_a_model_that_brings_its_inputs_to_scale(how: str, expected: list[str]) -> None:
    assert spoken(Prepared(how), COUNTS) == expected


class Numbered(nn.Module):
    """Reads ids as numbers, or looks them up."""

    def __init__(self, looked_up: bool) -> None:
        super().__init__()
        self.words = nn.Embedding(2000, 8) if looked_up else None
        self.cell, self.head = nn.GRU(8 if looked_up else 1, 16, batch_first=True), nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps = x.float()[..., None] if self.words is None else self.words(x)
        return self.head(self.cell(steps)[0][:, -1])


@pytest.mark.parametrize(("looked_up", "expected"), [(False, ["DAT001"]), (True, [])])
def test_ids_that_are_read_as_numbers(looked_up: bool, expected: list[str]) -> None:
    assert spoken(Numbered(looked_up), COUNTS.long()) == expected


@pytest.mark.parametrize(("divided", "expected"), [(False, ["DAT001"]), (True, [])])
def test_bytes_of_pictures(divided: bool, expected: list[str]) -> None:
    class Bytes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x / 255 if divided else x.float())

    assert spoken(Bytes(), torch.randint(0, 256, (64, 3, 8, 8), dtype=torch.uint8)) == expected
