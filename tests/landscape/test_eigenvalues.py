"""Eigenvalues against dense matrices, on each kind of network; what is left as it was; what cannot be had."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils import _pytree as pytree

from gainstage.errors import InputError, SubjectError
from gainstage.landscape import Objective, curvature
from gainstage.trace import Subject
from landscape.curvature_cases import NETWORKS, dense_gauss_newton, dense_hessian, subject_of

DTYPES = [torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_largest_is_the_dense_hessians_to_one_percent(name: str, dtype: torch.dtype) -> None:
    subject = subject_of(name)
    values = torch.linalg.eigvalsh(dense_hessian(Objective(subject, dtype=torch.float64)))
    found = curvature(subject, dtype=dtype)
    assert found.converged
    assert found.sharpness == pytest.approx(float(values[-1]), rel=0.01)
    assert float((values - found.sharpness).abs().min()) <= found.bounds[0] + 1e-5 * found.sharpness
    assert found.parameters == len(values)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_top_three_by_value_and_by_modulus(name: str) -> None:
    subject = subject_of(name)
    values = torch.linalg.eigvalsh(dense_hessian(Objective(subject, dtype=torch.float64))).flip(0)
    by_value = curvature(subject, top=3, dtype=torch.float64)
    assert by_value.eigenvalues == pytest.approx(values[:3].tolist(), rel=0.01)
    by_modulus = curvature(subject, top=3, dtype=torch.float64, which="modulus")
    assert by_modulus.eigenvalues == pytest.approx(values[values.abs().argsort(descending=True)][:3].tolist(), rel=0.01)


@pytest.mark.parametrize("name", NETWORKS)
def test_gauss_newton_is_the_dense_one(name: str) -> None:
    subject = subject_of(name)
    values = torch.linalg.eigvalsh(dense_gauss_newton(Objective(subject, dtype=torch.float64)))
    found = curvature(subject, operator="gauss-newton", dtype=torch.float64)
    assert found.sharpness == pytest.approx(float(values[-1]), rel=0.01)
    assert curvature(subject, operator="fisher", dtype=torch.float64).eigenvalues == found.eigenvalues


def test_differences_do_where_the_second_derivative_is_missing() -> None:
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x)
            return x.tanh()

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, *grads: torch.Tensor) -> torch.Tensor:
            (x,) = ctx.saved_tensors
            return grads[0] * (1 - x.tanh() ** 2)

    class OnceTanh(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return Once.apply(x)

    whole = subject_of("mlp")
    model = nn.Sequential(whole.model[0], OnceTanh(), whole.model[2])
    with pytest.raises(SubjectError, match=r'once_differentiable.*products="difference" can be had'):
        curvature(whole.replace(model=model))
    with pytest.raises(SubjectError, match="once_differentiable"):
        curvature(whole.replace(model=model), operator="gauss-newton")
    found = curvature(whole.replace(model=model), products="difference")
    assert found.sharpness == pytest.approx(curvature(whole).sharpness, rel=0.01)
    assert found.method == "difference"
    assert found.equivalents == pytest.approx(found.products + 1)


def test_differences_of_gradients_that_jump_are_not_trusted() -> None:
    made = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
    batch = torch.randn(128, 6, generator=made), torch.randint(3, (128,), generator=made)
    found = curvature(model, batch, products="difference", most=30)
    assert not found.converged
    assert "gradients that jump (ReLU)" in found.note


def test_a_kernel_without_a_second_derivative_is_named() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.Unflatten(1, (2, 2)), nn.LogSoftmax(-1))
    drawn = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3, generator=drawn)
    lengths = torch.full((2,), 2), torch.full((2,), 1)
    given = Subject(model, (torch.ones(2, 6), torch.ones(2, 1).long()), lambda y, t: F.ctc_loss(y.mT, t, *lengths))
    with pytest.raises(SubjectError, match=r"_ctc_loss_backward is not implemented\. Where products"):
        curvature(given)
    assert curvature(given, products="difference").converged


def test_the_mean_over_batches_is_that_of_the_hessians() -> None:
    subject = subject_of("mlp")
    objective = Objective(subject, batches=2, dtype=torch.float64)
    dense = (dense_hessian(objective, 0) + dense_hessian(objective, 1)) / 2
    expected = float(torch.linalg.eigvalsh(dense)[-1])
    assert curvature(subject, count=2, dtype=torch.float64).sharpness == pytest.approx(expected, rel=0.01)
    batches = [batch for batch in subject.batches for _ in range(3)]  # more than are held at a time
    many = curvature(subject.replace(batches=batches), count=6, dtype=torch.float64)
    assert many.sharpness == pytest.approx(expected, rel=0.01)
    assert many.batches == 6


def test_norms_by_batch_or_by_running_statistics() -> None:
    subject = subject_of("relu with batch norm")
    by_batch, by_running = curvature(subject, norms="train"), curvature(subject, norms="eval")
    objective = Objective(subject, norms="eval", dtype=torch.float64)
    expected = float(torch.linalg.eigvalsh(dense_hessian(objective))[-1])
    assert by_running.sharpness == pytest.approx(expected, rel=0.01)
    assert by_batch.sharpness != pytest.approx(expected, rel=0.05)


def test_half_precision_is_computed_in_single() -> None:
    subject = subject_of("mlp")
    halved = copy.deepcopy(subject.model).half()
    x, targets = subject.batches.first()
    found = curvature(halved, (x.half(), targets))
    assert found.converged
    assert found.sharpness == pytest.approx(curvature(subject).sharpness, rel=0.02)


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_changes(*, fails: bool) -> None:
    subject = subject_of("relu with batch norm")
    model, batch = subject.model, subject.batches.first()
    optimizer = torch.optim.Adam(model.parameters())
    F.cross_entropy(model(batch[0]), batch[1]).backward()
    optimizer.step()

    def state() -> list[object]:
        gradients = [parameter.grad for parameter in model.parameters()]
        modes = [module.training for module in model.modules()]
        held = [model.state_dict(), optimizer.state_dict(), gradients, batch, torch.get_rng_state(), modes]
        return [x.tolist() if isinstance(x, torch.Tensor) else x for x in pytree.tree_leaves(held)]

    before = state()
    loss = (lambda y, t: (y - t).sum()) if fails else F.cross_entropy
    given = Subject(model, batch, loss, optimizer)
    for products in ("exact", "difference"):
        if fails:
            with pytest.raises(SubjectError, match="must be differentiable, got RuntimeError"):
                curvature(given, products=products, preconditioner="adam")
        else:
            curvature(given, products=products, preconditioner="adam", norms="eval")
        assert state() == before


def test_equal_calls_give_equal_figures_and_the_record_can_be_kept() -> None:
    subject = subject_of("conv")
    found = curvature(subject, seed=3)
    assert found == curvature(subject, seed=3)
    assert pickle.loads(pickle.dumps(found)) == found
    assert str(found).startswith("hessian: ")
    assert "exact products over 1 batch" in str(found)


def test_a_loss_that_is_not_finite_is_said() -> None:
    subject = subject_of("mlp").replace(loss=lambda outputs, targets: outputs.sum() * math.inf)
    found = curvature(subject, top=2)
    assert all(map(math.isnan, found.eigenvalues))
    assert "the loss is" in found.note or "the gradient is not finite" in found.note
    assert not found.converged


def test_a_product_that_is_not_finite_is_said() -> None:
    # The root's gradient is finite where its argument is cut off, and its second derivative is not.
    subject = subject_of("mlp").replace(loss=lambda outputs, targets: (outputs * 0).pow(1.5).sum() + outputs.sum())
    found = curvature(subject)
    assert math.isnan(found.sharpness)
    assert "a product is not finite" in found.note


def test_no_gradient_and_no_curvature() -> None:
    flat = curvature(subject_of("mlp").replace(loss=lambda outputs, targets: (outputs * 0).sum()))
    assert (flat.eigenvalues, flat.gradient_norm, flat.converged) == ((0.0,), 0.0, True)
    straight = curvature(nn.Linear(6, 3), (torch.ones(2, 6), torch.zeros(2, 3)), lambda y, t: y.sum())
    assert straight.eigenvalues == (0.0,)


def test_too_few_products_are_said() -> None:
    found = curvature(subject_of("conv"), most=2)
    assert not found.converged
    assert "allow more products" in str(found)


def test_what_cannot_be_used_is_said() -> None:
    subject = subject_of("mlp")
    for arguments, message in (
        ({"operator": "empirical"}, "operator must be one of hessian, gauss-newton, fisher, got 'empirical'"),
        ({"products": "fast"}, "products must be one of exact, difference, got 'fast'"),
        ({"products": "difference", "operator": "fisher"}, "must be exact with operator fisher, got 'difference'"),
        ({"preconditioner": "sgd"}, "preconditioner must be 'adam', a vector or None, got 'sgd'"),
        ({"count": 0}, "batches must be at least 1, got 0"),
        ({"top": 0}, "top must be at least 1, got 0"),
    ):
        with pytest.raises(InputError, match=message):
            curvature(subject, **arguments)


def test_rounding_is_told_from_a_lack_of_products() -> None:
    # Softmax is saturated: what the Gauss-Newton matrix has is at the level of its rounding.
    made = torch.Generator().manual_seed(0)
    model = nn.Linear(6, 3)
    with torch.no_grad():
        model.weight.copy_(40 * torch.randn(3, 6, generator=made))
    batch = torch.randn(16, 6, generator=made), torch.randint(3, (16,), generator=made)
    found = curvature(model, batch, operator="gauss-newton", tolerance=1e-9, most=90)
    assert not found.converged
    assert found.products < 90
    assert "dtype=torch.float64 may do" in found.note
    few = curvature(model, batch, tolerance=1e-6, most=2)
    assert "allow more products" in few.note
