"""Adam's preconditioner against its own step, and the preconditioned curvature against the dense matrix."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from gainstage.errors import InputError
from gainstage.landscape import Objective, curvature
from gainstage.landscape.preconditioner import adam_preconditioner, diagonal_preconditioner
from gainstage.trace import Subject
from landscape.curvature_cases import dense_hessian, subject_of


def trained(kind: type[torch.optim.Optimizer], steps: int, **options: object) -> Subject:
    subject = subject_of("mlp")
    subject.model.double()
    x, targets = subject.batches.first()
    optimizer = kind(subject.model.parameters(), **options)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(subject.model(x.double()), targets).backward()
        optimizer.step()
    return subject.replace(optimizer=optimizer, batches=(x.double(), targets))


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
@pytest.mark.parametrize("amsgrad", [False, True])
def test_it_is_what_the_optimizer_divides_by(kind: type[torch.optim.Optimizer], *, amsgrad: bool) -> None:
    subject = trained(kind, 5, lr=0.01, betas=(0.0, 0.99), eps=1e-3, amsgrad=amsgrad, weight_decay=0.0)
    optimizer, objective = subject.optimizer, Objective(subject)
    found = adam_preconditioner(objective, objective.gradient(objective.batches[0])[1])
    assert found.source == f"{kind.__name__}'s state after 5 steps"
    # Without a first moment a further step is -lr g / P, with P of after it: that of the copied state.
    before = objective.point()
    x, targets = objective.batches[0]
    optimizer.zero_grad()
    F.cross_entropy(subject.model(x), targets).backward()
    gradient = objective.flat([p.grad for p in subject.model.parameters()])
    optimizer.step()
    after = torch.cat([p.detach().reshape(-1) for p in subject.model.parameters()])
    stepped = adam_preconditioner(Objective(subject), gradient)
    torch.testing.assert_close(after, before - 0.01 * gradient * stepped.inverse_root**2)


def test_before_any_step_it_is_that_of_the_first() -> None:
    objective = Objective(subject_of("mlp"), dtype=torch.float64)
    gradient = objective.gradient(objective.batches[0])[1]
    found = adam_preconditioner(objective, gradient)
    torch.testing.assert_close(found.inverse_root, (gradient.abs() + 1e-8).rsqrt())
    assert "after its first step on this gradient" in found.source


@pytest.mark.parametrize("steps", [0, 3])
def test_the_preconditioned_curvature_is_the_dense_matrixs(steps: int) -> None:
    subject = trained(torch.optim.AdamW, steps, lr=0.01, eps=1e-3)
    objective = Objective(subject)
    gradient = objective.gradient(objective.batches[0])[1]
    root = adam_preconditioner(objective, gradient).inverse_root
    expected = float(torch.linalg.eigvalsh(root[:, None] * dense_hessian(objective) * root)[-1])
    found = curvature(subject, preconditioner="adam")
    assert found.sharpness == pytest.approx(expected, rel=0.01)
    assert found.preconditioner in str(found)
    given = curvature(subject, preconditioner=root**-2)
    assert given.sharpness == pytest.approx(expected, rel=0.01)


def test_a_diagonal_that_is_none_is_said() -> None:
    objective = Objective(subject_of("mlp"))
    with pytest.raises(InputError, match=f"must be a vector of {objective.size} numbers.*got shape \\(3,\\)"):
        diagonal_preconditioner(objective, torch.ones(3))
    for value in (0.0, math.nan, math.inf):
        with pytest.raises(InputError, match=f"must be positive and finite, got {value:g}"):
            diagonal_preconditioner(objective, torch.full((objective.size,), value))
