"""The first step of an optimizer: closed forms, what it cannot measure, and what it leaves alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

import gainstage as gs
from gainstage.diagnosis.first_step import first_step
from gainstage.trace.training_records import StepRecord
from zoo.fingerprint import unchanged


def line(weight: float = 2.0) -> tuple[nn.Module, tuple[torch.Tensor, torch.Tensor]]:
    """Loss (w - 1)² / 1 at inputs of one and targets of one."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, weight)
    return model, (torch.ones(4, 1), torch.ones(4, 1))


def step_of(model: nn.Module, batch: Any, optimizer: torch.optim.Optimizer, **options: Any) -> StepRecord:
    return first_step(gs.Subject(model, batch, optimizer=optimizer, **options))


def test_a_step_of_gradient_descent_on_a_parabola() -> None:
    model, batch = line(3.0)
    found = step_of(model, batch, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, dampening=0.5))

    # w = 3: loss 4, gradient 4; a step of 0.4 goes to 2.6, with loss 1.6².
    assert found.loss == pytest.approx(4.0)
    assert found.loss_after == pytest.approx(2.56, rel=1e-5)
    assert found.zero_loss == pytest.approx(1.0)
    assert found.promise == pytest.approx(0.1 * 16 / 4, rel=1e-5)
    assert found.accumulation == pytest.approx(5.0)
    assert found.update_ratio == pytest.approx(0.4 / 3, rel=1e-5)
    assert found.least == found.most
    assert found.least is not None
    assert found.least.parameter == "weight"
    assert (found.stepped, found.scheduled, found.reason) == (False, False, "")


def test_adam_moves_every_weight_by_its_rate_and_ratios_are_named() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    with torch.no_grad():
        model[0].weight.copy_(torch.randn(8, 4).sign() * 0.1)
        model[2].weight.copy_(torch.randn(3, 8).sign() * 3)
    found = step_of(model, (torch.randn(16, 4), torch.randint(3, (16,))), torch.optim.Adam(model.parameters(), lr=1e-3))

    assert found.least is not None
    assert found.most is not None
    assert (found.least.parameter, found.most.parameter) == ("2.weight", "0.weight")
    assert found.least.ratio == pytest.approx(1e-3 / 3, rel=1e-2)
    assert found.most.ratio == pytest.approx(1e-2, rel=1e-2)
    assert found.zero_loss == pytest.approx(math.log(3))


def test_a_read_out_of_zeros_moves_without_measure() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    nn.init.zeros_(model[2].weight)
    batch = torch.randn(16, 4), torch.randint(3, (16,))
    report = gs.check(model, batch, optimizer=torch.optim.SGD(model.parameters(), lr=1e-7))

    assert report.trace.step is not None
    assert report.trace.step.most is not None
    assert (report.trace.step.most.parameter, report.trace.step.most.ratio) == ("2.weight", math.inf)
    assert gs.Trace.from_json(report.trace.to_json()) == report.trace
    assert "OPT002" not in [finding.code for finding in report.findings]


def test_knows_of_steps_and_schedules() -> None:
    model, batch = line()
    optimizer = torch.optim.Adam(model.parameters())
    torch.optim.lr_scheduler.LinearLR(optimizer)
    assert step_of(model, batch, optimizer).scheduled
    model(batch[0]).sum().backward()
    optimizer.step()

    assert step_of(model, batch, optimizer).stepped


class Broken(torch.optim.SGD):
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # as users write it
        raise LookupError


def test_says_why_there_are_no_figures() -> None:
    model, batch = line()
    lbfgs = step_of(model, batch, torch.optim.LBFGS(model.parameters()))
    broken = step_of(model, batch, Broken(model.parameters(), lr=0.1))
    nan = step_of(model, (batch[0] * math.nan, batch[1]), torch.optim.SGD(model.parameters(), lr=0.1))
    still, there = line(1.0)
    zero = step_of(still, there, torch.optim.SGD(still.parameters(), lr=0.1))
    steep, here = line(9.0)
    far = step_of(steep, here, torch.optim.SGD(steep.parameters(), lr=1e38))

    assert "LBFGS" in lbfgs.reason
    assert "LookupError" in broken.reason
    assert nan.reason == "the loss is nan before any step"
    assert zero.reason == "the gradient is zero: no learning rate moves anything"
    assert far.reason == "the optimizer's update is not finite"
    assert {found.loss_after for found in (lbfgs, broken, nan, zero, far)} == {None}


def test_a_loss_of_the_model_itself_has_no_yardstick() -> None:
    model, batch = line()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found = step_of(model, batch, optimizer, forward=lambda m, b: (m(b[0]) - b[1]).square().mean())

    assert found.zero_loss is None
    assert found.loss_after is not None


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam, torch.optim.LBFGS, Broken])
def test_checking_leaves_everything_as_it_is(optimizer: type[torch.optim.Optimizer]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    batch = torch.randn(16, 8), torch.randint(3, (16,))
    nn.functional.cross_entropy(model(batch[0]), batch[1]).backward()
    built = optimizer(model.parameters(), lr=0.1)  # type: ignore[call-arg]
    with unchanged(model, batch, built):
        report = gs.check(model, batch, optimizer=built)

    assert report.trace.step is not None
    assert gs.Trace.from_json(report.trace.to_json()) == report.trace


def test_without_an_optimizer_there_is_no_step() -> None:
    report = gs.check(*line())

    assert report.trace.step is None
    assert ("OPT001", "needs an optimizer") in [(entry.code, entry.reason) for entry in report.not_assessed]


def test_a_check_takes_the_gradient_from_its_recording() -> None:
    calls = list[int]()

    class Counting(nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            calls.append(1)
            return super().forward(input)

    model = Counting(4, 3)
    batch = torch.randn(8, 4), torch.randint(3, (8,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    gs.check(model, batch)
    without = len(calls)
    gs.check(model, batch, optimizer=optimizer)

    assert len(calls) == 2 * without + 1


def test_random_numbers_and_buffers_are_those_of_the_recording() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.Dropout(0.5), nn.ReLU(), nn.Linear(32, 3))
    batch = torch.randn(16, 8), torch.randint(3, (16,))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    alone = step_of(model, batch, optimizer)
    checked = gs.check(model, batch, optimizer=optimizer).trace.step

    assert checked is not None
    for name in ("loss", "loss_after", "zero_loss", "promise", "update_ratio"):
        assert getattr(checked, name) == pytest.approx(getattr(alone, name), rel=1e-5), name


def test_a_loss_of_another_model_is_told_of() -> None:
    model, batch = line()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    subject = gs.Subject(model, batch, optimizer=optimizer, forward=lambda _, b: (model(b[0]) - b[1]).square().mean())
    step = gs.check(subject).trace.step

    assert step is not None
    assert "the original's parameters alone" in step.reason
