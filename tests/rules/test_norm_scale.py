"""Weights whose scale a norm hides: what is said of large and of small ones, and of whom nothing is."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

import gainstage as gs

BATCH = (torch.randn(64, 32, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 4)
Rate = Callable[[nn.Module], torch.optim.Optimizer]


def net(gain: float, norm: Callable[[int], nn.Module] = nn.BatchNorm1d, depth: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [m for _ in range(depth) for m in (nn.Linear(32, 32, bias=False), norm(32), nn.ReLU())]
    for linear in layers[::3]:
        nn.init.normal_(linear.weight, std=gain / math.sqrt(32))
    return nn.Sequential(*layers, nn.Linear(32, 4))


def severities(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> list[str]:
    found = gs.check(model, BATCH, optimizer=optimizer, select="NRM006").findings
    return [finding.severity for finding in found]


def sgd(model: nn.Module, rate: float = 0.05, momentum: float = 0.9) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum)


@pytest.mark.parametrize("norm", [nn.BatchNorm1d, nn.LayerNorm, lambda width: nn.GroupNorm(4, width)])
@pytest.mark.parametrize(
    ("gain", "expected"),
    [(1e-3, ["info"]), (0.05, []), (0.577, []), (1.41, []), (15.0, []), (60.0, ["warning"]), (1e4, ["warning"])],
)
def test_judges_the_gain_alone_without_an_optimizer(
    norm: Callable[[int], nn.Module], gain: float, expected: list[str]
) -> None:
    assert severities(net(gain, norm)) == expected


def test_the_optimizer_tells_whether_a_large_gain_hurts() -> None:
    model = net(12.0)
    assert severities(model, sgd(model)) == ["warning"]
    assert severities(model, torch.optim.Adam(model.parameters(), lr=1e-3)) == ["warning"]
    assert severities(model, torch.optim.Adam(model.parameters(), lr=0.03)) == []


def test_a_learning_rate_that_fits_huge_weights_is_meant_so() -> None:
    model = net(100.0)
    assert severities(model, torch.optim.Adam(model.parameters(), lr=1.0)) == []


def test_a_rate_that_warms_up_says_nothing_yet() -> None:
    model = net(12.0)
    optimizer = sgd(model)
    torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.01)
    assert severities(model, optimizer) == []


def test_weights_that_training_made_grow_are_not_judged() -> None:
    model = net(60.0)
    optimizer = sgd(model)
    nn.functional.cross_entropy(model(BATCH[0]), BATCH[1]).backward()
    optimizer.step()
    optimizer.zero_grad()
    report = gs.check(model, BATCH, optimizer=optimizer, select="NRM006")
    assert report.findings == ()
    assert [entry.code for entry in report.not_assessed] == ["NRM006"]


def test_what_no_optimizer_moves_is_not_counted() -> None:
    model = net(60.0)
    for linear in list(model)[:-1:3]:
        linear.requires_grad_(requires_grad=False)
    assert severities(model) == []


def test_weights_without_a_norm_behind_are_the_business_of_other_rules() -> None:
    assert severities(nn.Sequential(*[m for m in net(60.0) if not isinstance(m, nn.BatchNorm1d)])) == []


def test_norms_in_eval_mode_take_no_scale_out() -> None:
    assert severities(net(60.0).eval()) == []


def test_a_weight_that_is_computed_has_a_scale_of_its_own() -> None:
    model = net(60.0)
    for linear in list(model)[:-1:3]:
        weight_norm(linear)
    assert severities(model) == []


def test_one_layer_of_many_is_left_alone() -> None:
    model = net(1.0, depth=5)
    nn.init.normal_(model[3].weight, std=20.0)
    assert severities(model) == []


def test_the_fix_mends_it() -> None:
    subject = gs.Subject(net(60.0), BATCH)
    (finding,) = gs.check(subject, select="NRM006").findings
    assert finding.fix is not None
    assert gs.check(finding.fix.apply(subject), select="NRM006").findings == ()
