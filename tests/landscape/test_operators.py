"""The operator that probes share: means over batches, with graphs kept or not, and scaled."""

from __future__ import annotations

import math

import pytest
import torch

from gainstage.landscape import Objective
from gainstage.landscape.operators import bend
from landscape.curvature_cases import dense_hessian, subject_of


@pytest.mark.parametrize("count", [1, 2, 6])
def test_the_mean_of_the_batches(count: int) -> None:
    subject = subject_of("mlp")
    batches = [batch for batch in subject.batches for _ in range(3)]
    objective = Objective(subject.replace(batches=batches), batches=count, dtype=torch.float64)
    found = bend(objective)
    dense = sum(dense_hessian(objective, place) for place in range(count)) / count
    vector = torch.randn(objective.size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(found.times(vector), dense @ vector, rtol=1e-9, atol=1e-12)
    pairs = [objective.gradient(batch) for batch in objective.batches]
    assert found.loss == pytest.approx(math.fsum(loss for loss, _ in pairs) / count)
    torch.testing.assert_close(found.gradient, sum(gradient for _, gradient in pairs) / count)
    assert not found.fault


def test_few_graphs_are_kept_and_many_are_not() -> None:
    subject = subject_of("mlp")
    batches = [batch for batch in subject.batches for _ in range(3)]
    vector = torch.ones(Objective(subject).size)
    spent = []
    for count in (4, 5):
        objective = Objective(subject.replace(batches=batches), batches=count)
        found = bend(objective)
        found.times(vector)
        before = objective.cost.gradients
        found.times(vector)
        spent.append(objective.cost.gradients - before)
    assert spent == [0, 5]


def test_a_diagonal_scales_gradient_and_operator() -> None:
    objective = Objective(subject_of("mlp"), dtype=torch.float64)
    made = torch.Generator().manual_seed(1)
    diagonal = 0.5 + torch.rand(objective.size, dtype=torch.float64, generator=made)
    plain, scaled = bend(objective), bend(objective, preconditioner=diagonal)
    root = diagonal.rsqrt()
    torch.testing.assert_close(scaled.gradient, root * plain.gradient)
    torch.testing.assert_close(scaled.times(diagonal), root * plain.times(root * diagonal))
    assert (plain.preconditioner, scaled.preconditioner) == ("", "a diagonal that was passed")
