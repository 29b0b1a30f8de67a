"""Stability thresholds against the recurrences that they are about."""

from __future__ import annotations

import math

import pytest

from gainstage.errors import InputError
from gainstage.landscape import adam_stable_lr, stable_lr


def reached(lr: float, momentum: float, *, average: bool) -> float:
    """How far from its minimum 2 w^2 is after many steps of momentum, summed or averaged as Adam does."""
    weight, moment = 1.0, 0.0
    for _ in range(3000):
        moment = momentum * moment + (1 - momentum if average else 1.0) * 4.0 * weight
        weight -= lr * moment
        if abs(weight) > 1e6:
            return math.inf
    return abs(weight)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_momentum_is_stable_up_to_it_and_not_beyond(momentum: float) -> None:
    edge = stable_lr(4.0, momentum=momentum)
    assert reached(0.98 * edge, momentum, average=False) < 1e-3
    assert reached(1.02 * edge, momentum, average=False) > 1e3
    edge = adam_stable_lr(4.0, beta1=momentum)
    assert reached(0.98 * edge, momentum, average=True) < 1e-3
    assert reached(1.02 * edge, momentum, average=True) > 1e3


def test_the_papers_number() -> None:  # paper: Cohen et al. 2022, 38 / lr for beta1 = 0.9
    assert adam_stable_lr(1.0) == pytest.approx(38)


def test_no_curvature_and_none_known() -> None:
    assert stable_lr(0.0) == stable_lr(-1.0) == math.inf
    assert math.isnan(stable_lr(math.nan))
    with pytest.raises(InputError, match="momentum must be at least 0 and below 1, got 1"):
        stable_lr(1.0, momentum=1.0)
    with pytest.raises(InputError, match="beta1 must be at least 0 and below 1, got -0"):
        adam_stable_lr(1.0, beta1=-0.1)
