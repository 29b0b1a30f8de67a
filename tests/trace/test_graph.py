"""The graph of a trace: consumers, and the residual stream with its branches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gainstage as gs
from gainstage.trace import graph


class Block(nn.Module):
    def __init__(self, function: Any, **parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self, x)


def named(model: nn.Module, batch: Any) -> list[tuple[str, str | None, list[str], list[str]]]:
    trace = gs.record(model, batch)
    names = [layer.name for layer in trace.layers]
    return [
        (names[r.sum], None if r.fork is None else names[r.fork], [names[i] for i in r.branch],
         [names[i] for i in r.skip])
        for r in trace.residuals
    ]  # fmt: skip


def linear(**more: Any) -> dict[str, Any]:
    return {"a": nn.Linear(8, 8), "b": nn.Linear(8, 8), "head": nn.Linear(8, 8), **more}


@pytest.mark.parametrize(
    ("forward", "fork", "branch", "skip"),
    [
        (lambda m, x: (h := m.head(x)) + m.b(F.relu(m.a(h))), "head", ["a", ":relu", "b"], []),
        (lambda m, x: m.b(F.relu(m.a(h := m.head(x)))) * 0.1 + h, "head", ["a", ":relu", "b"], []),
        (lambda m, x: m.head(x + m.b(F.relu(m.a(x)))), None, ["a", ":relu", "b"], []),
        (lambda m, x: (h := m.head(x)) + m.a(h), "head", ["a"], []),
        (lambda m, x: m.c(h := m.head(x)) + m.b(F.relu(m.a(h))), "head", ["a", ":relu", "b"], ["c"]),
        (lambda m, x: m.norm(m.c(h := m.head(x))) + m.b(F.relu(m.a(h))), "head", ["a", ":relu", "b"], ["c", "norm"]),
    ],
)
def test_residual_blocks(forward: Any, fork: str | None, branch: list[str], skip: list[str]) -> None:
    model = Block(forward, **linear(c=nn.Linear(8, 8), norm=nn.LayerNorm(8)))
    assert named(model, torch.randn(6, 8)) == [(":add", fork, branch, skip)]


@pytest.mark.parametrize(
    "forward",
    [
        lambda m, x: m.a(h := m.head(x)) + m.b(h),  # two maps of the same, as in a recurrent cell
        lambda m, x: F.relu(m.a(h := m.head(x))) + F.relu(m.b(h)),
        lambda m, x: m.b(F.relu(m.a(m.head(x) + 1.0))),
    ],
)
def test_other_sums_are_no_residual_blocks(forward: Any) -> None:
    assert named(Block(forward, **linear()), torch.randn(6, 8)) == []


def test_a_transformer_is_a_stream_with_two_branches_a_layer() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True, dropout=0.0)
    model = nn.Sequential(nn.Linear(8, 8), nn.TransformerEncoder(layer, 3, enable_nested_tensor=False))
    found = named(model, torch.randn(4, 5, 8))
    assert len(found) == 6
    assert [fork for _, fork, _, _ in found] == ["0", *(name for name, _, _, _ in found[:-1])]
    assert all("out_proj" in branch[-1] for _, _, branch, _ in found[::2])
    assert [branch[1:] for _, _, branch, _ in found[1::2]] == [
        [f"1.layers.{i}.linear1", f"1.layers.{i}:relu", f"1.layers.{i}.linear2"] for i in range(3)
    ]


def test_consumers_are_the_inverse_of_inputs() -> None:
    model = Block(lambda m, x: (h := m.head(x)) + m.b(F.relu(m.a(h))), **linear())
    layers = gs.record(model, torch.randn(6, 8)).layers
    read_by = graph.consumers(layers)
    assert [(s, p) for p, layer in enumerate(layers) for s in layer.inputs] == sorted(
        ((s, p) for s, readers in enumerate(read_by) for p in readers), key=lambda pair: (pair[1], pair[0])
    )
    assert read_by == [[1, 4], [2], [3], [4], []]
