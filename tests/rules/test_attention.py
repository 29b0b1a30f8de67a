"""GRD005: stacked self-attention that nothing leads past, and what only looks like it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import gainstage as gs

WIDTH, PLACES = 16, 6


class ByHand(nn.Module):
    """Attention of one head, put together by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Linear(WIDTH, 3 * WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.maps(x).chunk(3, -1)
        return torch.softmax(q @ k.transpose(1, 2) / WIDTH**0.5, -1) @ v


class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=False)[0]


class Stack(nn.Module):
    def __init__(self, kind: Callable[[], nn.Module], join: Callable[[Tensor, Tensor], Tensor], depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(kind() for _ in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(depth))
        self.words, self.join, self.head = nn.Linear(WIDTH, WIDTH), join, nn.Linear(WIDTH * PLACES, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.words(x)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = self.join(x, layer(norm(x)))
        return self.head(x.flatten(1))


def said(model: nn.Module) -> list[gs.Finding]:
    torch.manual_seed(0)
    batch = torch.randn(16, PLACES, WIDTH), torch.arange(16) % 3
    return [finding for finding in gs.check(model, batch, select="GRD005").findings if finding.severity != "info"]


@pytest.mark.parametrize("kind", [ByHand, Packed])
@pytest.mark.parametrize("join", [lambda _, y: y, lambda _, y: y + y], ids=["overwritten", "added to itself"])
def test_a_stack_without_skips(kind: Callable[[], nn.Module], join: Callable[[Tensor, Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    (finding,) = said(Stack(kind, join, 3))
    assert (finding.value, finding.cause, len(finding.layers)) == (3.0, "wiring", 3)


@pytest.mark.parametrize("kind", [ByHand, Packed])
def test_a_stack_with_skips(kind: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    assert not said(Stack(kind, lambda x, y: x + y, 3))


def test_one_attention_pools() -> None:
    torch.manual_seed(0)
    assert not said(Stack(ByHand, lambda _, y: y, 1))


def test_a_decoder_that_looks_at_what_it_reads_step_by_step() -> None:
    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.head = nn.GRUCell(WIDTH, WIDTH), nn.Linear(WIDTH, 3)

        def forward(self, x: Tensor) -> Tensor:
            state = x.mean(1)
            for _ in range(4):
                weights = torch.softmax(x @ state.unsqueeze(-1), 1)
                state = self.cell((weights * x).sum(1), state)
            return self.head(state)

    torch.manual_seed(0)
    assert not said(Decoder())


class OfGraph(nn.Module):
    """Attention over the neighbours of a graph: a score for either end, added up."""

    def __init__(self) -> None:
        super().__init__()
        self.map, self.ends = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.map(x)
        to, of = self.ends(h).unbind(-1)
        return torch.softmax(nn.functional.leaky_relu(to[..., None] + of[:, None], 0.2), -1) @ h


def test_stacked_attention_of_a_graph_needs_no_skip() -> None:
    assert said(Stack(OfGraph, lambda _, y: y.relu(), 2)) == []
