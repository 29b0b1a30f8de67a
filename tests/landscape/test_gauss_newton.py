"""Gauss-Newton products by hand, for several outputs and losses; the Fisher information by its definition."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gainstage.errors import SubjectError
from gainstage.landscape import Objective
from gainstage.landscape.gauss_newton import gauss_newton_product, require_likelihood
from gainstage.trace import Subject
from landscape.curvature_cases import dense_gauss_newton, function_of, subject_of


def columns(objective: Objective) -> torch.Tensor:
    times = gauss_newton_product(objective, objective.batches[0])
    return torch.stack([times(unit) for unit in torch.eye(objective.size, dtype=objective.point().dtype)], dim=1)


def test_the_fisher_information_is_the_mean_over_the_models_own_targets() -> None:
    objective = Objective(subject_of("mlp"), dtype=torch.float64)
    outputs, _ = function_of(objective)
    jacobian = torch.autograd.functional.jacobian(lambda w: outputs(w).log_softmax(-1), objective.point())
    shares = outputs(objective.point()).softmax(-1)
    fisher = torch.einsum("bc,bcp,bcq->pq", shares, jacobian, jacobian) / len(shares)
    torch.testing.assert_close(columns(objective), fisher, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(dense_gauss_newton(objective), fisher, rtol=1e-9, atol=1e-12)


def test_several_outputs_and_one_without_use() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other, self.idle = nn.Linear(3, 2), nn.Linear(3, 1), nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> dict[str, object]:
            return {"one": self.one(x), "rest": [self.other(x), self.idle(x), "text"]}

    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    model = Two().double()
    loss = lambda out, _: (out["one"] ** 2).sum() + out["one"].sum() * out["rest"][0].sum()  # noqa: E731
    objective = Objective(Subject(model, (x, torch.zeros(1)), loss))
    # The outputs are linear in the parameters: here the Gauss-Newton matrix is the Hessian.
    exact = objective.product(objective.batches[0])
    full = torch.stack([exact(unit) for unit in torch.eye(objective.size, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(columns(objective), full)
    assert bool(full.any())


def test_a_loss_that_is_linear_in_the_outputs_has_none() -> None:
    objective = Objective(subject_of("mlp").replace(loss=lambda outputs, targets: outputs.sum()))
    assert not columns(objective).any()


@pytest.mark.parametrize("loss", [None, F.cross_entropy, nn.CrossEntropyLoss(label_smoothing=0.1)])
def test_likelihoods_are_known(loss: object) -> None:
    require_likelihood(Objective(subject_of("mlp").replace(loss=loss)))


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(torch.ones(3)), nn.MultiMarginLoss(), lambda y, t: y.sum()])
def test_other_losses_are_refused_by_name(loss: object) -> None:
    with pytest.raises(SubjectError, match=r'as loss.*got .*Pass operator="gauss-newton"'):
        require_likelihood(Objective(subject_of("mlp").replace(loss=loss)))


def test_outputs_that_cannot_be_taken_apart_are_said() -> None:
    class Box:
        def __init__(self, value: torch.Tensor) -> None:
            self.value = value

    class Boxed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> Box:
            return Box(self.map(x))

    objective = Objective(subject_of("mlp").replace(model=Boxed(), loss=lambda box, t: box.value.pow(2).mean()))
    with pytest.raises(SubjectError, match="registered classes that the loss depends on, got Box"):
        gauss_newton_product(objective, objective.batches[0])
