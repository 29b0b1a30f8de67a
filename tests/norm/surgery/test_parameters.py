"""Every trainable parameter is in exactly one group."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gainstage import norm
from gainstage.errors import InputError
from zoo.case import SMALL
from zoo.cases import CASES

OWN = [name for name in CASES if name.startswith("torch:") and "lazy" not in name]


@given(st.sampled_from(OWN), st.booleans())
@settings(max_examples=25, deadline=None)
def test_every_trainable_parameter_is_in_one_group_once(name: str, by_use: bool) -> None:
    parts = CASES[name].parts(SMALL)
    split = norm.split_parameters(parts.model, parts.batch if by_use and parts.forward is None else None)
    held = [id(p) for group in split.groups(0.1) for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in parts.model.parameters() if p.requires_grad)
    assert split.reasons.keys() == split.decay.keys() | split.no_decay.keys()
    if held:
        torch.optim.AdamW(split.groups(0.1))


class Tabled(nn.Module):
    """What a transformer holds beside its layers, under names that say nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.attention = nn.Embedding(7, 8), nn.MultiheadAttention(8, 2)
        self.a = nn.Parameter(torch.randn(1, 5, 8))
        self.b = nn.Parameter(torch.randn(8, 8))
        self.gate = nn.Parameter(torch.zeros(()))
        self.norm, self.frozen = nn.LayerNorm(8), nn.Parameter(torch.zeros(3, 3), requires_grad=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.words(tokens) + self.a
        y = self.attention(x, x, x)[0] * self.gate
        return self.norm(x + y) @ self.b


def test_tables_and_matrices_are_told_apart_by_their_use() -> None:
    split = norm.split_parameters(Tabled(), torch.randint(7, (2, 5)))
    assert set(split.decay) == {"b", "attention.in_proj_weight", "attention.out_proj.weight"}
    assert split.reasons["a"] == "table, token or scale, by its use"
    assert split.reasons["words.weight"] == "table, token or scale, by its use"
    assert "frozen" not in split.no_decay


def test_a_tied_table_is_a_matrix() -> None:
    model = nn.Sequential(nn.Embedding(7, 8), nn.Linear(8, 7))
    model[1].weight = model[0].weight
    split = norm.split_parameters(model)
    assert list(split.decay) == ["0.weight"]
    assert list(split.no_decay) == ["1.bias"]
    assert "1 decayed, 1 not" in str(split)


def test_groups_of_an_optimizer() -> None:
    split = norm.split_parameters(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    assert [(len(g["params"]), g["weight_decay"]) for g in split.groups(0.3)] == [(1, 0.3), (3, 0.0)]
    assert len(norm.split_parameters(nn.BatchNorm1d(2)).groups()) == 1
    with pytest.raises(InputError, match="weight_decay must not be negative, got -1"):
        split.groups(-1)
