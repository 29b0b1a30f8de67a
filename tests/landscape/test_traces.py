"""Hutch++ against traces that are known, and its interval against how often it holds."""

from __future__ import annotations

import math

import pytest
import torch

from gainstage.errors import InputError
from gainstage.landscape import Objective, hessian_trace
from gainstage.landscape.traces import hutch_plus_plus
from landscape.curvature_cases import NETWORKS, dense_hessian, subject_of


@pytest.mark.parametrize("name", NETWORKS)
def test_the_trace_is_the_dense_hessians(name: str) -> None:
    subject = subject_of(name)
    true = float(dense_hessian(Objective(subject, dtype=torch.float64)).trace())
    found = hessian_trace(subject, most=60, dtype=torch.float64)
    # Twice the interval of 95 %: about four standard errors.
    assert abs(found.trace.mean - true) <= found.trace.high - found.trace.low
    assert found.trace.high - found.trace.low < 0.8 * true
    assert found.products <= 60
    assert str(found).startswith("trace of the hessian: ")


def test_as_many_products_as_parameters_give_it_exactly() -> None:
    subject = subject_of("mlp")
    objective = Objective(subject, dtype=torch.float64)
    found = hessian_trace(subject, most=objective.size, dtype=torch.float64)
    assert found.trace.mean == pytest.approx(float(dense_hessian(objective).trace()), rel=1e-10)
    assert found.trace.low == found.trace.high


def test_the_interval_holds_as_often_as_it_says() -> None:
    made = torch.Generator().manual_seed(0)
    square = torch.randn(120, 120, generator=made, dtype=torch.float64)
    matrix = square + square.T + torch.diag(torch.cat([torch.full((5,), 200.0), torch.zeros(115)]).double())
    true, like = float(matrix.trace()), torch.zeros(120, dtype=torch.float64)
    held = 0
    for seed in range(200):
        _, estimate, used = hutch_plus_plus(lambda v: matrix @ v, like, most=30, seed=seed)
        held += estimate.low <= true <= estimate.high
        assert used == 30
    # 95 % of 200, four standard errors of a binomial below.
    assert held >= 190 - 4 * math.sqrt(200 * 0.95 * 0.05)


def test_an_operator_of_low_rank_is_exact() -> None:
    values = torch.cat([torch.tensor([5.0, 3.0, -1.0]), torch.zeros(200)]).double()
    part, estimate, _ = hutch_plus_plus(lambda v: values * v, torch.zeros_like(values), most=15)
    assert part == pytest.approx(7.0)
    assert estimate.mean == pytest.approx(7.0)


def test_what_is_not_finite_is_said() -> None:
    found = hessian_trace(subject_of("mlp").replace(loss=lambda y, t: y.sum() * math.nan))
    assert math.isnan(found.trace.mean)
    assert found.note == "the loss is nan"
    found = hessian_trace(subject_of("mlp").replace(loss=lambda y, t: (y * 0).pow(1.5).sum() + y.sum()))
    assert math.isnan(found.trace.mean)
    assert "a product is not finite" in found.note


def test_too_few_products_are_said() -> None:
    with pytest.raises(InputError, match="most must be at least 6, got 5"):
        hessian_trace(subject_of("mlp"), most=5)
