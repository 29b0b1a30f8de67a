"""OPT003 and OPT005 on losses made by hand."""

from __future__ import annotations

import math
import random

import pytest

from gainstage.rules import rule_of
from gainstage.rules.base import Finding, NotAssessed
from gainstage.trace.records import Trace
from gainstage.trace.training_records import StepRecord, TrialRecord


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
