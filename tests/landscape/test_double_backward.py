"""Kernels that can be differentiated twice, and what cannot be."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gainstage.errors import SubjectError
from gainstage.landscape import Objective
from gainstage.landscape.double_backward import require_whole, twice_differentiable
from landscape.curvature_cases import dense_hessian, subject_of


def backends() -> tuple[bool, ...]:
    sdp = torch.backends.cuda
    kinds = (sdp.flash_sdp_enabled(), sdp.mem_efficient_sdp_enabled(), sdp.math_sdp_enabled())
    return (*kinds, torch.backends.cudnn.enabled)


@pytest.mark.parametrize("name", ["attention", "embedding"])
def test_products_are_the_dense_hessians(name: str) -> None:
    objective = Objective(subject_of(name), dtype=torch.float64)
    vector = torch.randn(objective.size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = objective.product(objective.batches[0])(vector)
    torch.testing.assert_close(found, dense_hessian(objective) @ vector, rtol=1e-9, atol=1e-12)


def test_backends_are_put_back_also_when_it_fails() -> None:
    before = backends()
    with twice_differentiable(nn.LSTM(1, 1)):
        assert backends() == (False, False, True, False)
    with pytest.raises(ZeroDivisionError, match="zero"), twice_differentiable(nn.LSTM(1, 1)):
        _ = 1 / 0
    assert backends() == before
    with twice_differentiable(nn.Conv2d(1, 1, 1)):
        assert backends()[-1] == before[-1]


def test_a_function_that_is_differentiable_once_is_refused() -> None:
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, *grads: torch.Tensor) -> torch.Tensor:
            return grads[0] * 3 * ctx.saved_tensors[0] ** 2

    x = torch.ones(2, requires_grad=True)
    (gradient,) = torch.autograd.grad(Once.apply(x).square().sum(), x, create_graph=True)
    # What it guards against: no error, and no second derivative.
    assert torch.autograd.grad(gradient.sum(), x, retain_graph=True, allow_unused=True) == (None,)
    with pytest.raises(SubjectError, match="marked with once_differentiable"):
        require_whole(gradient)


def test_a_whole_history_passes() -> None:
    x = torch.ones(2, requires_grad=True)
    (gradient,) = torch.autograd.grad((x**3).sum(), x, create_graph=True)
    require_whole(gradient)
    require_whole(gradient.detach())
