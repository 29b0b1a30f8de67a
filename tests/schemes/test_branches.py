"""Which map ends a branch, which streams are decoders, and packed projections of few rows."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gainstage as gs
from gainstage.schemes.streams import streams


class Gated(nn.Module):
    """A residual block whose branch ends in squeeze-excitation."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.first, self.last = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.squeeze, self.excite = nn.Linear(channels, 4), nn.Linear(4, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.last(F.relu(self.first(x)))
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(h.mean((2, 3))))))
        return F.relu(x + h * gate[:, :, None, None])


def gated() -> nn.Sequential:
    stem = nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()
    return nn.Sequential(*stem, *(Gated() for _ in range(4)), nn.Flatten(), nn.Linear(8 * 64, 5))


@pytest.mark.parametrize("scheme", ["fixup", "skipinit"])
def test_a_gated_branch_is_zero_and_its_gate_is_not(scheme: str) -> None:
    model = gated()
    gs.initialize(model, torch.randn(4, 3, 8, 8), scheme=scheme)
    x = torch.randn(2, 8, 8, 8).relu()
    assert torch.equal(model[3](x), x)
    assert model[3].excite.weight.std() > 0


def test_fixup_counts_no_gate_among_the_maps_of_a_branch() -> None:
    model = gated()
    gs.initialize(model, torch.randn(4, 3, 8, 8), scheme="fixup")
    he = (2 / (8 * 9)) ** 0.5
    assert model[3].first.weight.std().item() == pytest.approx(he * 4**-0.5, rel=0.15)


class Attending(nn.Module):
    """An encoder with a table of relative positions and a condition that every branch reads."""

    def __init__(self, layers: int = 3, width: int = 16) -> None:
        super().__init__()
        self.stem, self.condition = nn.Linear(8, width), nn.Linear(8, width)
        self.positions = nn.Embedding(9, 2)
        self.maps = nn.ModuleList(nn.ModuleList(nn.Linear(width, width) for _ in range(4)) for _ in range(layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        condition = self.condition(x.mean(1, keepdim=True))
        x = self.stem(x)
        place = torch.arange(x.shape[1])
        bias = self.positions((place[:, None] - place).clamp(-4, 4) + 4).permute(2, 0, 1)
        for queries, keys, values, out in self.maps:
            q, k, v = (m(x + condition).unflatten(-1, (2, -1)).transpose(1, 2) for m in (queries, keys, values))
            weights = torch.softmax(q @ k.transpose(-1, -2) / 8**0.5 + bias, -1)
            x = x + out((weights @ v).transpose(1, 2).flatten(2))
        return x


def test_neither_a_table_of_positions_nor_a_condition_makes_a_decoder() -> None:
    trace = gs.record(Attending(), torch.randn(2, 6, 8))
    assert [(stream.layers, stream.is_decoder) for stream in streams(trace)] == [(3, False)]


class Memory(nn.Module):
    """Cross-attention by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.far = nn.Linear(8, 16), nn.Linear(8, 16)
        self.maps = nn.ModuleList(nn.ModuleList(nn.Linear(16, 16) for _ in range(4)) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        memory, x = self.far(x).relu(), self.stem(x)
        for queries, keys, values, out in self.maps:
            weights = torch.softmax(queries(x) @ keys(memory).transpose(-1, -2), -1)
            x = x + out(weights @ values(memory))
        return x


def test_attention_to_something_else_makes_a_decoder() -> None:
    trace = gs.record(Memory(), torch.randn(2, 6, 8))
    assert [(stream.layers, stream.is_decoder) for stream in streams(trace)] == [(2, True)]


class Packed(nn.Module):
    """Queries, keys and values in one weight of fewer rows than columns."""

    def __init__(self) -> None:
        super().__init__()
        self.packed, self.out = nn.Parameter(torch.randn(48, 96)), nn.Linear(16, 96)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (F.linear(x, part) for part in self.packed.chunk(3))
        return x + self.out(F.scaled_dot_product_attention(q, k, v))


def test_packed_projections_of_few_rows_are_told_apart_by_rows() -> None:
    model = nn.Sequential(nn.Linear(96, 96), Packed())
    gs.initialize(model, torch.randn(4, 7, 96), scheme="t_fixup")
    queries, keys, values = (part.std().item() for part in model[1].packed.chunk(3))
    assert queries == pytest.approx(keys, rel=0.1)
    assert values / queries == pytest.approx(0.67, rel=0.1)
    gs.initialize(model, torch.randn(4, 7, 96), scheme="orthogonal")
    for part in model[1].packed.detach().chunk(3):
        gram = part @ part.T
        torch.testing.assert_close(gram, gram[0, 0] * torch.eye(16), atol=1e-4, rtol=0)
