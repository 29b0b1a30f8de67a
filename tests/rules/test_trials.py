"""OPT003 and OPT005 on losses made by hand."""

from __future__ import annotations

import math
import random

import pytest
import torch
from torch import nn

import gainstage as gs
from gainstage.rules import rule_of
from gainstage.rules.base import Finding, NotAssessed
from gainstage.trace.records import Trace
from gainstage.trace.training_records import StepRecord, TrialRecord, VariantRecord


def judged(
    code: str, losses: tuple[float, ...], *, loss: float = 2.3, steps: int | None = None
) -> list[Finding | NotAssessed]:
    step = StepRecord(loss=loss, loss_after=loss, zero_loss=2.3)
    trial = TrialRecord(len(losses) if steps is None else steps, losses)
    return list(rule_of(code).check(Trace((), loss=loss, step=step, trial=trial)))


def speaks(code: str, losses: tuple[float, ...], **options: float) -> bool:
    return any(isinstance(result, Finding) for result in judged(code, losses, **options))  # type: ignore[arg-type]


def test_not_learning_needs_two_hundred_steps() -> None:
    (found,) = judged("OPT003", (2.3,) * 199)

    assert isinstance(found, NotAssessed)
    assert "200 steps" in found.reason
    assert speaks("OPT003", (2.3,) * 200)


def test_not_learning_is_neither_learning_nor_diverging_nor_known_already() -> None:
    assert not speaks("OPT003", (2.3,) * 100 + (2.2,) * 100)
    assert not speaks("OPT003", (2.3,) * 100 + (23.0,) * 100)
    assert not speaks("OPT003", (2.3,) * 30 + (math.nan,), steps=200)
    assert not speaks("OPT003", (0.5,) * 200, loss=0.5)


@pytest.mark.parametrize("seed", range(20))
def test_the_noise_of_batches_is_no_oscillation(seed: int) -> None:
    noise = random.Random(seed)

    assert not speaks("OPT005", tuple(2.3 + noise.gauss(0, 2) for _ in range(100)))


def test_oscillating_turns_far_and_does_not_settle() -> None:
    jumps = tuple(2.3 + (-1) ** at for at in range(120))

    assert speaks("OPT005", jumps)
    assert not speaks("OPT005", tuple(2.3 + 0.05 * (-1) ** at for at in range(120)))
    assert not speaks("OPT005", tuple(3.3 - at / 40 + (-1) ** at for at in range(120)))
    assert not speaks("OPT005", (*jumps[:110], math.inf), steps=120)
    (found,) = judged("OPT005", jumps[:99])
    assert isinstance(found, NotAssessed)


@pytest.mark.parametrize(
    ("losses", "lower", "expected"),
    [
        ((2.3, 2.2, 2.1, 2.0, 2.1, 2.0, math.nan), (math.inf, math.inf), True),
        ((2.3, 2.2, 2.1, 2.0, 2.1, 2.0, math.nan), (math.inf, 1.5), False),  # a lower rate mends it
        ((2.3, 3.0, 9.0, 90.0, 1e4, 1e9, math.inf), (math.inf, math.inf), False),  # it rose before
        ((2.3, math.inf), (math.inf, math.inf), False),  # too soon to tell
        ((2.3, 2.2, 2.1, 2.0, 2.1, 2.0, math.nan), (), False),
        ((2.3, 2.2, 2.1, 2.0, 2.1, 2.0, 1.9), (math.inf, math.inf), False),
    ],
)
def test_a_loss_that_breaks_down_at_any_rate(
    losses: tuple[float, ...], lower: tuple[float, ...], expected: bool
) -> None:
    variants = tuple(VariantRecord("lr", 0.1**at, 0.1**at, end) for at, end in enumerate(lower, 1))
    trial = TrialRecord(200, losses, variants=variants)
    found = list(rule_of("NUM001").check(Trace((), loss=2.3, trial=trial)))

    assert [isinstance(result, Finding) for result in found] == [True] * expected


class Logarithm(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.log()


def test_what_breaks_down_by_itself_is_not_laid_to_the_rate() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(Logarithm(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    batches = [(torch.rand(16, 4) + 0.5, torch.rand(16, 1)) for _ in range(64)]
    batches[50][0][3, 1] = 0.0  # a count that was never zero before
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    report = gs.check(model, batches, optimizer=optimizer, steps=100)

    assert [f.code for f in report.findings if f.consequence_of is None] == ["NUM001"]


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [(0.6, -3.5, False), (-1.0, -9.0, False), (-1.0, 8.0, True), (0.6, 2.0, False), (0.6, 9.0, True)],
)
def test_a_loss_that_falls_below_zero_does_not_diverge(first: float, last: float, expected: bool) -> None:
    assert speaks("OPT004", (first,) * 100 + (last,) * 100) is expected


def test_a_loss_that_falls_at_a_higher_rate_can_be_learned() -> None:
    def said(constant_loss: float | None, higher: float) -> bool:
        step = StepRecord(loss=1.0, constant_loss=constant_loss)
        trial = TrialRecord(200, (1.0,) * 200, variants=(VariantRecord("lr", 10.0, 1.0, higher),))
        results = rule_of("OPT003").check(Trace((), loss=1.0, step=step, trial=trial))
        return any(isinstance(result, Finding) for result in results)

    assert said(None, 0.9)
    assert not said(None, 0.1)
    assert said(1.0, 0.1)  # OPT002 tells of it
