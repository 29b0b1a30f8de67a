"""Definition 2.1 of Santurkar et al.: a closed form, a twin by hand, and the optimizer's own step."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from gainstage.errors import InputError, SubjectError, UnknownNameError
from gainstage.landscape import Objective, covariate_shift
from gainstage.landscape.layer_parameters import layer_parameters
from gainstage.landscape.update import proposed_update
from gainstage.trace import Subject
from landscape.quadratics import normalized, quadratic


def chain(values: list[float], lr_target: float = 0.0) -> Subject:
    """ŷ = w₃w₂w₁ on x = 1, L = ½(ŷ - t)²."""
    model = nn.Sequential(*(nn.Linear(1, 1, bias=False) for _ in values)).double()
    with torch.no_grad():
        for layer, value in zip(model, values, strict=True):
            layer.weight.fill_(value)
    batch = (torch.ones(1, 1).double(), torch.full((1, 1), lr_target).double())
    return Subject(model, batch, lambda y, t: (y - t).square().sum() / 2)


def test_a_deep_linear_chain_has_its_closed_form() -> None:
    w, lr, t = [1.5, -0.5, 2.0], 0.1, 1.0
    error = math.prod(w) - t
    g = [error * math.prod(w) / value for value in w]
    after = [value - lr * gradient for value, gradient in zip(w, g, strict=True)]
    found = covariate_shift(chain(w, t), lr=lr)
    for i, layer in enumerate(found.layers):
        moved = after[:i] + w[i:]
        expected = (math.prod(moved) - t) * math.prod(moved) / w[i]
        assert layer.gradient_norm == pytest.approx(abs(g[i]))
        assert layer.shift == pytest.approx(abs(g[i] - expected))
        assert layer.cosine == pytest.approx(math.copysign(1.0, g[i] * expected))
        assert layer.relative == pytest.approx(abs(1 - expected / g[i]))
    assert found.layers[0].shift == 0.0


def test_a_network_with_batch_norm_as_by_hand() -> None:
    given = normalized()
    found = covariate_shift(given, lr=0.3)
    assert [layer.name for layer in found.layers] == ["0", "3", "6"]
    x, t = given.batches.first()

    def gradients(model: nn.Sequential) -> list[torch.Tensor]:
        return list(torch.autograd.grad(nn.functional.cross_entropy(model(x), t), list(model.parameters())))

    old = copy.deepcopy(given.model)
    g = gradients(old)
    mixed = copy.deepcopy(given.model)
    with torch.no_grad():
        for parameter, gradient in list(zip(mixed.parameters(), g, strict=True))[:3]:
            parameter.sub_(0.3 * gradient)
    there = gradients(mixed)
    here, next_ = (torch.cat([part.reshape(-1) for part in grads[3:6]]) for grads in (g, there))
    layer = found.layers[1]
    assert layer.parameters == ("3.weight", "4.weight", "4.bias")
    assert layer.shift == pytest.approx(float((here - next_).norm()))
    assert layer.cosine == pytest.approx(float(nn.functional.cosine_similarity(here, next_, dim=0)))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_optimizers_own_step(momentum: float) -> None:
    given = normalized()
    optimizer = torch.optim.SGD(given.model.parameters(), lr=0.3, momentum=momentum)
    own = covariate_shift(given.replace(optimizer=optimizer))
    plain = covariate_shift(given, lr=0.3)
    assert own.step == "SGD"
    assert own.lr is None
    # The first step of momentum is a plain one.
    assert [layer.shift for layer in own.layers] == pytest.approx([layer.shift for layer in plain.layers])


def test_an_update_is_what_the_optimizer_does_and_leaves_no_trace() -> None:
    given = normalized()
    optimizer = torch.optim.AdamW(given.model.parameters(), lr=0.01, weight_decay=0.1)
    x, t = given.batches.first()
    nn.functional.cross_entropy(given.model(x), t).backward()
    optimizer.step()
    objective = Objective(given.replace(optimizer=optimizer))
    before = objective.point()
    _, gradient = objective.gradient(objective.batches[0])
    updates = [proposed_update(objective, gradient) for _ in range(2)]
    assert torch.equal(*updates)
    assert torch.equal(before, objective.point())
    optimizer.zero_grad()
    nn.functional.cross_entropy(given.model(x), t).backward()
    optimizer.step()
    after = torch.cat([parameter.detach().reshape(-1) for parameter in given.model.parameters()])
    torch.testing.assert_close(before + updates[0], after, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad])
def test_an_optimizers_state_in_float32_serves_in_float64(kind: type[torch.optim.Optimizer]) -> None:
    model = nn.Linear(3, 2)
    optimizer = kind(model.parameters(), lr=0.01)
    x = torch.randn(8, 3)
    model(x).square().sum().backward()
    optimizer.step()
    given = Subject(model, x, lambda y, _: y.square().sum(), optimizer)
    updates = []
    for dtype in (torch.float32, torch.float64):
        objective = Objective(given, dtype=dtype)
        updates.append(proposed_update(objective, objective.gradient(objective.batches[0])[1]))
    assert updates[1].dtype is torch.float64
    torch.testing.assert_close(updates[0].double(), updates[1], rtol=1e-3, atol=1e-6)


def test_chosen_layers_cost_one_gradient_each() -> None:
    names = [layer.name for layer in covariate_shift(normalized(), lr=0.1, layers=[-1, "3"]).layers]
    assert names == ["6", "3"]
    assert [layer.position for layer in covariate_shift(chain([1.0] * 9, 2.0), lr=0.1, most=3).layers] == [2, 5, 8]
    with pytest.raises(UnknownNameError, match="layer must be a known one, got '5'"):
        covariate_shift(normalized(), lr=0.1, layers=["5"])
    with pytest.raises(InputError, match="layers must be below 3, got 3"):
        covariate_shift(normalized(), lr=0.1, layers=[3])
    with pytest.raises(InputError, match="most must be at least 1, got 0"):
        covariate_shift(normalized(), lr=0.1, most=0)


def test_layers_stand_in_order_of_execution_with_what_scales_them() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.first = nn.Linear(4, 2), nn.Linear(3, 4)
            self.alpha, self.unused = nn.Parameter(torch.tensor(0.5)), nn.Linear(7, 7)
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.first(self.norm(x))
            return self.last(h + self.alpha * torch.tanh(h))

    batch = (torch.randn(8, 3), torch.randn(8, 2))
    groups = layer_parameters(Objective(Subject(Backwards(), batch)))
    assert groups == {
        "norm": ("norm.weight", "norm.bias"),
        "first": ("first.weight", "first.bias", "alpha"),
        "last": ("last.weight", "last.bias"),
    }


def test_what_is_not_finite_and_what_cannot_be_used_is_said() -> None:
    odd = covariate_shift(chain([1.0, math.nan]), lr=0.1)
    assert odd.note == "the gradient is not finite in 0, 1"
    assert odd.layers[1].cosine is None
    zero = covariate_shift(chain([0.0, 0.0]), lr=0.1)
    assert zero.layers[1].shift == 0.0
    assert zero.layers[1].relative is None
    with pytest.raises(SubjectError, match="must read trainable parameters, got none"):
        covariate_shift(quadratic(torch.eye(2), torch.ones(2)), lr=0.1)
    with pytest.raises(InputError, match="lr must be given for a subject without an optimizer"):
        covariate_shift(chain([1.0, 1.0]))
    given = normalized()
    with pytest.raises(SubjectError, match="must step on a gradient alone, got TypeError"):
        covariate_shift(given.replace(optimizer=torch.optim.LBFGS(given.model.parameters())))
