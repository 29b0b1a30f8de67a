"""Which weights are scale-invariant, and what the effective rate of these does."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from gainstage.errors import InputError
from gainstage.landscape import EffectiveRate, effective_lr
from gainstage.trace import Subject
from landscape.quadratics import Vector, normalized


def test_batch_norm_makes_the_weights_in_front_of_it_invariant_and_no_others() -> None:
    found = {entry.name: entry for entry in effective_lr(normalized(), lr=0.1).parameters}
    # The scale γ of the first norm too: with β = 0 it passes through the rectifier to the second norm.
    assert {name for name, entry in found.items() if entry.scale_invariant} == {"0.weight", "1.weight", "3.weight"}
    assert found["6.weight"].scale_invariant is False
    assert found["6.weight"].effective_lr is None
    assert found["0.weight"].radial == pytest.approx(0.0, abs=1e-8)
    assert found["0.weight"].loss_change == pytest.approx(0.0, abs=1e-8)
    assert found["0.weight"].gradient_change == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize("scale", [0.1, 10.0])
def test_the_unit_gradient_stays_and_the_effective_rate_falls_with_the_square(scale: float) -> None:
    one = effective_lr(normalized(), lr=0.1).parameters[0]
    other = effective_lr(normalized(scale=scale), lr=0.1).parameters[0]
    assert other.norm == pytest.approx(scale * one.norm)
    assert other.grad_norm == pytest.approx(one.grad_norm / scale, rel=1e-6)
    assert other.unit_grad_norm == pytest.approx(one.unit_grad_norm, rel=1e-6)
    assert other.effective_lr == pytest.approx((one.effective_lr or 0.0) / scale**2)


def test_a_step_turns_and_lengthens_as_pythagoras_says() -> None:
    entry = effective_lr(normalized(), lr=0.5).parameters[0]
    ratio = 0.5 * entry.grad_norm / entry.norm
    assert entry.rotation == pytest.approx(math.atan(ratio))
    assert entry.norm_growth == pytest.approx(math.sqrt(1 + ratio**2) - 1)


def test_without_a_norm_nothing_is_invariant() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(576, 10)]
        model = nn.Sequential(*layers)
        batch = (torch.randn(16, 3, 16, 16), torch.randint(10, (16,)))
    found = effective_lr(model, batch, lr=0.1).parameters
    assert not any(entry.scale_invariant for entry in found)


def test_torchs_own_epsilon_is_forgiven() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        norms = [nn.Conv2d(4, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, bias=False)]
        model = nn.Sequential(*norms, nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 3))
        batch = (torch.randn(16, 4, 8, 8), torch.randint(3, (16,)))
    found = {entry.name: entry.scale_invariant for entry in effective_lr(model, batch, lr=0.1).parameters}
    assert found["0.weight"]
    assert found["3.weight"]
    assert not found["7.weight"]


def test_eval_mode_makes_none() -> None:
    found = effective_lr(normalized(), lr=0.1, norms="eval").parameters
    assert not any(entry.scale_invariant for entry in found)


def test_a_gradient_that_happens_to_be_orthogonal_is_not_taken_for_invariance() -> None:
    def loss(model: nn.Module, _: torch.Tensor) -> torch.Tensor:
        return (model.w - torch.tensor([1.0, 2.0])).square().sum()

    # At (0, 2) the gradient is (-2, 0).
    given = Subject(Vector(torch.tensor([0.0, 2.0])), torch.zeros(1, 2), forward=loss)
    (entry,) = effective_lr(given, lr=0.1).parameters
    assert entry.radial == 0.0
    assert entry.loss_change == pytest.approx(4.0 / (2 * 2))
    assert entry.scale_invariant is False


def test_a_linear_loss_that_scaling_does_not_change_is_told_by_its_gradient() -> None:
    v, w = torch.tensor([1.0, -1.0]).double(), torch.tensor([3.0, 3.0]).double()
    given = Subject(Vector(w), torch.zeros(1, 2), forward=lambda model, _: v @ model.w + 1)
    (entry,) = effective_lr(given, lr=0.1).parameters
    assert (entry.radial, entry.loss_change) == (0.0, 0.0)
    assert entry.gradient_change == pytest.approx(1.0)
    assert entry.scale_invariant is False


def test_equilibrium_is_where_sgd_with_weight_decay_settles() -> None:
    """On L = <v, w/‖w‖> over fresh directions v of one size, orthogonal to w: ‖g̃‖ is constant."""
    lr, decay, size = 0.1, 0.05, 2.0
    made = torch.Generator().manual_seed(0)
    w = torch.randn(50, generator=made).double()
    angle = 0.0
    for _ in range(1500):
        v = torch.randn(50, generator=made).double()
        v -= (v @ w) / (w @ w) * w
        step = w - lr * (size * v / v.norm() / w.norm() + decay * w)
        angle = float(torch.acos((step @ w) / step.norm() / w.norm()))
        w = step
    v = torch.randn(50, generator=made).double()
    v = size * (v - (v @ w) / (w @ w) * w) / (v - (v @ w) / (w @ w) * w).norm()
    given = Subject(Vector(w), torch.zeros(1, 50), forward=lambda m, _: v @ m.w / m.w.norm())
    (entry,) = effective_lr(given, lr=lr, weight_decay=decay).parameters
    assert entry.scale_invariant
    assert entry.unit_grad_norm == pytest.approx(size)
    assert entry.norm == pytest.approx(entry.equilibrium_norm, rel=0.01)
    assert angle == pytest.approx(entry.equilibrium_rotation, rel=0.02)
    assert entry.rotation == pytest.approx(entry.equilibrium_rotation, rel=0.02)


def test_the_optimizers_own_rotation() -> None:
    given = normalized()
    optimizer = torch.optim.AdamW(given.model.parameters(), lr=0.01, weight_decay=0.1)
    found = effective_lr(given.replace(optimizer=optimizer))
    model, twin = given.model, copy.deepcopy((given.model, optimizer))
    x, t = given.batches.first()
    nn.functional.cross_entropy(twin[0](x), t).backward()
    twin[1].step()
    for entry, old, new in zip(found.parameters, model.parameters(), twin[0].parameters(), strict=True):
        a, b = old.detach().reshape(-1), new.detach().reshape(-1)
        if bool(a.any()):
            expected = math.acos(min(1.0, float(a @ b / a.norm() / b.norm())))
            assert entry.rotation == pytest.approx(expected, abs=1e-6)
        else:
            assert entry.rotation is None
    assert (found.step, found.parameters[0].lr, found.parameters[0].weight_decay) == ("AdamW", 0.01, 0.1)
    assert found.parameters[0].equilibrium_norm is None
    assert found.parameters[0].effective_lr is not None


def test_groups_rates_and_decays_are_the_optimizers() -> None:
    given = normalized()
    groups = [{"params": [given.model[0].weight], "lr": 0.2}, {"params": [given.model[3].weight], "weight_decay": 0.01}]
    found = {
        entry.name: entry for entry in effective_lr(given.replace(optimizer=torch.optim.SGD(groups, lr=0.1))).parameters
    }
    assert (found["0.weight"].lr, found["3.weight"].lr, found["6.weight"].lr) == (0.2, 0.1, None)
    assert found["3.weight"].equilibrium_rotation == pytest.approx(math.sqrt(2 * 0.1 * 0.01))
    assert found["6.weight"].rotation == 0.0


def test_no_gradient_and_nothing_finite_are_said() -> None:
    unused = Subject(Vector(torch.ones(3)), torch.zeros(1, 3), forward=lambda m, _: (0 * m.w).sum() + 1)
    (entry,) = effective_lr(unused, lr=0.1).parameters
    assert (entry.scale_invariant, entry.radial, entry.effective_lr) == (None, None, None)
    odd = Subject(Vector(torch.full((3,), math.nan)), torch.zeros(1, 3), forward=lambda m, _: m.w.sum().exp())
    found = effective_lr(odd, lr=0.1)
    assert found.note == "the gradient is not finite in w"
    assert found.parameters[0].rotation is None
    with pytest.raises(InputError, match="tolerance must be positive and finite, got 0"):
        effective_lr(normalized(), lr=0.1, tolerance=0)
    with pytest.raises(InputError, match="weight_decay must be finite and at least 0, got -1"):
        effective_lr(normalized(), lr=0.1, weight_decay=-1)
    with pytest.raises(InputError, match="lr must be given for a subject without an optimizer"):
        effective_lr(normalized())


@pytest.mark.parametrize(
    ("optimizer", "power"), [(torch.optim.SGD, 2), (torch.optim.Adam, 1), (torch.optim.RMSprop, 1)]
)
def test_equal_effective_rates_turn_equally(optimizer: type[torch.optim.Optimizer], power: int) -> None:
    def entry(scale: float, lr: float) -> EffectiveRate:
        subject = normalized(scale=scale)
        stepped = optimizer([subject.model[0].weight], lr=lr)  # pyright: ignore[reportCallIssue]
        return effective_lr(subject.replace(optimizer=stepped)).parameters[0]

    one, other = entry(1.0, 0.01), entry(4.0, 0.01 * 4**power)
    assert other.rotation == pytest.approx(one.rotation, rel=1e-3)  # Adam's epsilon
    assert other.effective_lr == pytest.approx(one.effective_lr)
    assert one.effective_lr == pytest.approx(0.01 / one.norm**power)


def test_an_optimizer_of_unknown_scaling_has_no_effective_rate() -> None:
    subject = normalized()
    entry = effective_lr(subject.replace(optimizer=torch.optim.Adadelta(subject.model.parameters()))).parameters[0]
    assert entry.scale_invariant
    assert entry.effective_lr is None
    assert entry.rotation is not None
