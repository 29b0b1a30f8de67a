"""Chains of batch norms: where they are too long, and what theory gives to them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

import gainstage as gs
from gainstage.diagnosis.check import judged
from gainstage.rules import rule_of
from gainstage.rules.norm_depth import predicted_growth

BATCH = (torch.randn(128, 64, generator=torch.Generator().manual_seed(0)), torch.arange(128) % 10)


class Skip(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


def layer(norm: Callable[[int], nn.Module], act: Callable[[], nn.Module]) -> nn.Sequential:
    return nn.Sequential(nn.Linear(64, 64, bias=False), norm(64), act())


def chain(
    depth: int, norm: Callable[[int], nn.Module] = nn.BatchNorm1d, act: Callable[[], nn.Module] = nn.ReLU
) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*[layer(norm, act) for _ in range(depth)], nn.Linear(64, 10))


def codes(model: nn.Module) -> list[str]:
    return [finding.code for finding in gs.check(model, BATCH, select="NRM012").findings]


def test_predicts_the_factor_of_yang_for_each_norm() -> None:
    trace = gs.record(chain(20), BATCH)
    assert predicted_growth(trace) == pytest.approx(20 * 0.5 * math.log10(math.pi / (math.pi - 1)), rel=1e-6)


def test_counts_nothing_for_linear_chains_and_where_branches_join() -> None:
    assert predicted_growth(gs.record(chain(5, act=nn.Identity), BATCH)) == pytest.approx(0.0, abs=1e-6)
    assert predicted_growth(gs.record(nn.Sequential(Skip(chain(5)[:-1]), nn.Linear(64, 10)), BATCH)) == 0.0


@pytest.mark.parametrize(("depth", "expected"), [(10, []), (18, []), (40, ["NRM012"])])
def test_speaks_where_the_chain_is_deep(depth: int, expected: list[str]) -> None:
    assert codes(chain(depth)) == expected


def test_says_for_information_what_a_published_network_lives_with() -> None:
    assert [finding.severity for finding in gs.check(chain(30), BATCH, select="NRM012").findings] == ["info"]


def test_skips_and_other_norms_are_silent() -> None:
    torch.manual_seed(0)
    skips = nn.Sequential(*[Skip(layer(nn.BatchNorm1d, nn.ReLU)) for _ in range(40)], nn.Linear(64, 10))
    assert codes(skips) == []
    assert codes(chain(40, nn.LayerNorm)) == []
    assert codes(chain(40).eval()) == []


def test_explains_the_exploding_gradient() -> None:
    found = {finding.code: finding for finding in gs.check(chain(40), BATCH).findings}
    assert found["GRD002"].consequence_of == "NRM012"
    assert found["NRM012"].consequence_of is None


def test_growth_that_is_not_of_the_norms_is_left_to_others() -> None:
    torch.manual_seed(0)
    maps = [m for _ in range(30) for m in (nn.Linear(64, 64), nn.Tanh())]
    for linear in maps[::2]:
        nn.init.normal_(linear.weight, std=2.5 / 8)
    assert codes(nn.Sequential(*maps, layer(nn.BatchNorm1d, nn.ReLU), nn.Linear(64, 10))) == []


def test_is_not_assessed_without_gradients() -> None:
    diagnosis = judged(gs.record(chain(40), BATCH, backward=False), [rule_of("NRM012")])
    assert [entry.code for entry in diagnosis.not_assessed] == ["NRM012"]
