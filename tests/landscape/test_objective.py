"""The loss as a function of the parameters: exact, repeatable, and without a trace on the subject."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from gainstage.errors import InputError, SubjectError
from gainstage.landscape import Objective
from gainstage.trace import Subject


def subject(model: nn.Module | None = None) -> Subject:
    made = torch.Generator().manual_seed(0)
    model = model or nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 3))
    batches = [(torch.randn(16, 6, generator=made), torch.randint(3, (16,), generator=made)) for _ in range(3)]
    return Subject(model, batches, optimizer=torch.optim.Adam(model.parameters()))


def state_of(model: nn.Module) -> list[torch.Tensor | bool | None]:
    tensors = [tensor.clone() for tensor in (*model.parameters(), *model.buffers())]
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    return [*tensors, *gradients, *(module.training for module in model.modules()), torch.get_rng_state()]


def same(one: list, other: list) -> bool:
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(one, other, strict=True))


def test_the_gradient_is_autograds() -> None:
    given = subject(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)))
    objective = Objective(given)
    loss, gradient = objective.gradient(objective.batches[0])
    expected = nn.functional.cross_entropy(given.model(objective.batches[0][0]), objective.batches[0][1])
    grads = torch.autograd.grad(expected, list(given.model.parameters()))
    assert loss == expected.item()
    assert torch.equal(gradient, torch.cat([g.reshape(-1) for g in grads]))


def test_the_product_is_the_dense_hessians() -> None:
    given = subject(nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3)))
    objective = Objective(given, dtype=torch.float64)
    batch = objective.batches[0]
    names, shapes = objective.names, [p.shape for p in objective.parameters]

    def loss_at(vector: torch.Tensor) -> torch.Tensor:
        parts = vector.split([shape.numel() for shape in shapes])
        values = {name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}
        outputs = torch.func.functional_call(copy.deepcopy(objective.model), values, (batch[0],))
        return nn.functional.cross_entropy(outputs, batch[1])

    hessian = torch.autograd.functional.hessian(loss_at, objective.point())
    vector = torch.randn(objective.size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(objective.product(batch)(vector), hessian @ vector, rtol=1e-10, atol=1e-12)


def test_equal_calls_give_equal_values_with_dropout_and_batch_norm() -> None:
    objective = Objective(subject(), batches=2)
    assert len(objective.batches) == 2
    first = objective.gradient(objective.batches[1])
    objective.loss(objective.batches[0])
    second = objective.gradient(objective.batches[1])
    assert first[0] == second[0] == objective.loss(objective.batches[1])
    assert torch.equal(first[1], second[1])


def test_a_move_is_undone_to_the_bit_also_when_it_fails() -> None:
    objective = Objective(subject())
    before, direction = objective.point(), torch.ones(objective.size)
    with objective.moved(direction, 0.5):
        torch.testing.assert_close(objective.point(), before + 0.5)
    with pytest.raises(ZeroDivisionError, match="zero"), objective.moved(direction, 1e30):
        _ = 1 / 0
    assert torch.equal(objective.point(), before)


def test_the_subject_stays_as_it_was() -> None:
    given = subject()
    given.model[0].weight.grad = torch.ones_like(given.model[0].weight)
    before = state_of(given.model)
    objective = Objective(given, norms="eval", batches=3)
    with objective.moved(torch.ones(objective.size), 1.0):
        objective.gradient(objective.batches[0])
    objective.product(objective.batches[0])(torch.ones(objective.size))
    assert same(before, state_of(given.model))
    assert not objective.model[1].training
    assert objective.model[3].training


def test_buffers_are_those_of_the_beginning_at_every_evaluation() -> None:
    objective = Objective(subject())
    before = [buffer.clone() for buffer in objective.model.buffers()]
    objective.gradient(objective.batches[0])
    assert all(torch.equal(a, b) for a, b in zip(before, objective.model.buffers(), strict=True))


def test_a_batch_that_the_model_writes_to_stays() -> None:
    class Writes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.map(x.mul_(2))

    objective = Objective(subject(Writes()))
    assert objective.loss(objective.batches[0]) == objective.loss(objective.batches[0])


def test_a_reentrant_checkpoint_has_its_gradient() -> None:
    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(checkpoint(self.inner, x.requires_grad_(), use_reentrant=True))

    objective = Objective(subject(Checkpointed()))
    _, gradient = objective.gradient(objective.batches[0])
    assert all(bool(part.any()) for part in objective.split(gradient).values())
    assert all(parameter.grad is None for parameter in objective.parameters)


def test_cost_counts_passes() -> None:
    objective = Objective(subject())
    objective.loss(objective.batches[0])
    objective.gradient(objective.batches[0])
    times = objective.product(objective.batches[0])
    times(torch.ones(objective.size))
    cost = objective.cost
    assert (cost.forwards, cost.gradients, cost.products) == (1, 2, 1)
    assert cost.equivalents == pytest.approx(1 / 3 + 2 + 2)


def test_outputs_and_loss_apart() -> None:
    objective = Objective(subject())
    outputs, loss_of = objective.outputs(objective.batches[0])
    assert loss_of(outputs).item() == objective.loss(objective.batches[0])


def test_what_cannot_be_used_is_said() -> None:
    frozen = nn.Linear(6, 3).requires_grad_(False)
    with pytest.raises(SubjectError, match="trainable parameters, got none"):
        Objective(Subject(frozen, (torch.zeros(2, 6), torch.zeros(2, 3))))
    with pytest.raises(InputError, match="norms must be one of as is, train, eval, got 'off'"):
        Objective(subject(), norms="off")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="batches must be at least 1, got 0"):
        Objective(subject(), batches=0)
    detached = Objective(subject().replace(loss=lambda outputs, targets: outputs.detach().mean()))
    with pytest.raises(SubjectError, match="without a history"):
        detached.gradient(detached.batches[0])
    wrong = Objective(Subject(nn.Linear(5, 3), (torch.zeros(2, 6), torch.zeros(2, 3))))
    with pytest.raises(SubjectError, match="must be differentiable, got RuntimeError"):
        wrong.gradient(wrong.batches[0])
    summed = Objective(subject().replace(forward=lambda model, batch: model(batch[0]).sum()))
    with pytest.raises(SubjectError, match="got a subject with forward="):
        summed.outputs(summed.batches[0])


@pytest.mark.parametrize(("dtype", "centred", "tolerance"), [
    (torch.float32, False, 5e-3), (torch.float32, True, 2e-3),
    (torch.float64, False, 1e-6), (torch.float64, True, 1e-8),
])  # fmt: skip
def test_a_difference_of_gradients_is_the_product(dtype: torch.dtype, tolerance: float, *, centred: bool) -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))
    objective = Objective(subject(model), dtype=dtype)
    batch, before = objective.batches[0], objective.point()
    vector = 100 * torch.randn(objective.size, dtype=dtype, generator=torch.Generator().manual_seed(1))
    exact, times = objective.product(batch)(vector), objective.difference(batch, centred=centred)
    spent = objective.cost.gradients
    assert float((times(vector) - exact).norm() / exact.norm()) < tolerance
    assert objective.cost.gradients - spent == (2 if centred else 1)
    assert not times(torch.zeros_like(vector)).any()
    assert torch.equal(objective.point(), before)


def test_a_sparse_gradient_is_a_vector_too() -> None:
    model = nn.Sequential(nn.Embedding(5, 3, sparse=True), nn.Flatten(), nn.Linear(6, 3))
    objective = Objective(Subject(model, (torch.tensor([[0, 1], [1, 2]]), torch.tensor([0, 1]))))
    _, gradient = objective.gradient(objective.batches[0])
    assert gradient.shape == (objective.size,)
    assert bool(gradient[:9].any())


def test_complex_parameters_are_refused() -> None:
    model = nn.Linear(2, 2, dtype=torch.complex64)
    with pytest.raises(SubjectError, match="must be real, got complex ones"):
        Objective(Subject(model, torch.ones(1, 2, dtype=torch.complex64)))


def test_a_loss_that_differentiates_on_its_way_has_a_value() -> None:
    def equation(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        x = batch[0].clone().requires_grad_()
        (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        return (slope - 1).square().mean()

    model = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 1))
    objective = Objective(subject(model).replace(forward=equation))
    assert objective.loss(objective.batches[0]) == objective.gradient(objective.batches[0])[0]


def test_draws_are_independent_and_repeatable() -> None:
    objective = Objective(subject())
    batch = objective.batches[0]
    gradients = [objective.gradient(batch, draw=draw)[1] for draw in (0, 1, 2, 1, 0)]
    assert torch.equal(gradients[0], gradients[4])
    assert torch.equal(gradients[1], gradients[3])
    assert not torch.equal(gradients[0], gradients[1])
    assert not torch.equal(gradients[1], gradients[2])


def test_a_loss_of_the_original_is_no_loss_of_the_copy() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3))
    given = subject(model)

    wrong = given.replace(forward=lambda _, batch: nn.functional.cross_entropy(model(batch[0]), batch[1]))
    objective = Objective(wrong)
    for evaluate in (objective.gradient, objective.product):
        with pytest.raises(SubjectError, match=r"got one of the original's parameters alone\. In forward="):
            evaluate(objective.batches[0])
    right = given.replace(forward=lambda own, batch: own(batch[0]).square().mean() + own[0].weight.square().sum())
    objective = Objective(right)
    assert objective.gradient(objective.batches[0])[1].any()


def test_a_loss_with_parameters_of_its_own_is_taken_as_it_is() -> None:
    class Learned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            return self.weight * nn.functional.cross_entropy(outputs, targets)

    objective = Objective(subject().replace(loss=Learned()))
    assert objective.gradient(objective.batches[0])[1].any()
