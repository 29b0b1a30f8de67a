"""The three measures along a gradient: closed forms, a slow twin, and their metrics."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from gainstage.errors import InputError
from gainstage.landscape import smoothness
from gainstage.trace import Subject
from landscape.quadratics import Vector, normalized, quadratic


def test_a_quadratic_has_its_closed_forms() -> None:
    made = torch.Generator().manual_seed(0)
    root = torch.randn(5, 5, dtype=torch.float64, generator=made)
    a, w = root @ root.T, torch.randn(5, dtype=torch.float64, generator=made)
    found = smoothness(quadratic(a, w), lr=0.02)
    g = a @ w
    losses = [float((w - eta * g) @ a @ (w - eta * g) / 2) for eta in found.steps]
    assert found.steps == pytest.approx([0.02 * k / 2 for k in range(1, 9)])
    assert found.losses == pytest.approx(losses)
    assert found.loss_range == pytest.approx(max(losses) - min(losses))
    assert found.gradient_norm == pytest.approx(float(g.norm()))
    assert found.gradient_predictiveness == pytest.approx(0.08 * float((a @ g).norm()))
    assert found.beta_smoothness == pytest.approx(float((a @ g).norm() / g.norm()))


def test_a_quadratic_relative_to_the_weights() -> None:
    a, w = torch.diag(torch.tensor([1.0, 2.0, 3.0]).double()), torch.tensor([1.0, 1.0, 2.0]).double()
    found = smoothness(quadratic(a, w), lr=0.01, metric="relative")
    g, size = a @ w, float(w.norm())
    assert found.gradient_norm == pytest.approx(size * float(g.norm()))
    assert found.gradient_predictiveness == pytest.approx(0.04 * size**2 * float((a @ g).norm() / g.norm()))
    assert found.beta_smoothness == pytest.approx(size**2 * float((a @ g).norm() / g.norm()))


def test_a_quadratic_by_filters() -> None:
    model = nn.Linear(2, 2).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    subject = Subject(model, torch.zeros(1, 2), forward=lambda m, _: m.weight.square().sum() / 2 + m.bias.sum())
    found = smoothness(subject, lr=0.1, metric="filter", steps=(1.0, 1.0), count=1)
    # Each filter shrinks to 0.9 of itself, the bias stays: g = w, G = ‖w_f‖w_f.
    assert found.losses[0] == pytest.approx(0.81 * 26 / 2 + model.bias.sum().item())
    assert found.gradient_norm == pytest.approx(math.sqrt(25.0**2 + 1))
    assert found.gradient_predictiveness == pytest.approx(0.1 * math.sqrt(25.0**2 + 1))
    assert found.beta_smoothness == pytest.approx(math.sqrt((25.0**2 + 1) / 2))


def test_the_measures_are_those_of_a_plain_loop() -> None:
    given = normalized()
    found = smoothness(given, lr=0.1, count=3)
    x, t = given.batches.first()
    model = copy.deepcopy(given.model)
    weights = list(model.parameters())
    start = torch.autograd.grad(nn.functional.cross_entropy(model(x), t), weights)
    losses, changes = [], []
    for eta in (0.05, 0.225, 0.4):
        moved = copy.deepcopy(given.model)
        with torch.no_grad():
            for parameter, gradient in zip(moved.parameters(), start, strict=True):
                parameter.sub_(eta * gradient)
        loss = nn.functional.cross_entropy(moved(x), t)
        there = torch.autograd.grad(loss, list(moved.parameters()))
        losses.append(loss.item())
        changes.append(math.sqrt(sum(float((a - b).square().sum()) for a, b in zip(start, there, strict=True))))
    size = math.sqrt(sum(float(g.square().sum()) for g in start))
    assert found.loss_range == pytest.approx(max(losses) - min(losses))
    assert found.gradient_predictiveness == pytest.approx(max(changes))
    assert found.beta_smoothness == pytest.approx(
        max(c / (eta * size) for c, eta in zip(changes, (0.05, 0.225, 0.4), strict=True))
    )


def normed_alone(scale: float) -> Subject:
    """All parameters scale-invariant together, and each filter by itself."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(4, 5, bias=False), nn.BatchNorm1d(5, affine=False, eps=1e-12)).double()
        batch = (torch.randn(16, 4).double(), torch.randn(16, 5).double())
    with torch.no_grad():
        model[0].weight.mul_(scale)
    return Subject(model, batch)


@pytest.mark.parametrize("metric", ["relative", "filter"])
def test_batch_norm_leaves_the_relative_metrics_as_they_are_under_rescaling(metric: str) -> None:
    one, other = (smoothness(normed_alone(a), lr=0.02, metric=metric) for a in (1.0, 7.0))
    for name in ("loss_range", "gradient_norm", "gradient_predictiveness", "beta_smoothness"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-8)


def test_and_divides_the_absolute_one_by_the_square() -> None:
    one = smoothness(normed_alone(1.0), lr=0.01)
    other = smoothness(normed_alone(7.0), lr=0.01 * 49, cap=None)
    assert one.beta_smoothness == pytest.approx(49 * (other.beta_smoothness or 0.0), rel=1e-8)


def test_the_cap_is_the_largest_step() -> None:
    assert smoothness(quadratic(torch.eye(2), torch.ones(2)), lr=0.2).steps[-1] == 0.4
    with pytest.raises(InputError, match=r"range below the cap, got 0.5 to 0.4"):
        smoothness(quadratic(torch.eye(2), torch.ones(2)), lr=1.0)


def test_no_gradient_and_nothing_finite_are_said() -> None:
    flat = smoothness(quadratic(torch.eye(2), torch.zeros(2)), lr=0.1)
    assert (flat.loss_range, flat.gradient_predictiveness, flat.beta_smoothness) == (0.0, 0.0, None)
    assert flat.note == "there is no gradient to go along"
    nan = smoothness(quadratic(torch.eye(2), torch.full((2,), math.nan)), lr=0.1)
    assert nan.non_finite == 8
    assert nan.loss_range == nan.beta_smoothness == math.inf
    assert "not finite where the steps start" in nan.note

    def exploding(model: Vector, _: torch.Tensor) -> torch.Tensor:
        return (-1e4 * model.w).exp().sum() + 10 * model.w.sum()

    runaway = smoothness(Subject(Vector(torch.ones(1)), torch.zeros(1, 1), forward=exploding), lr=0.1)
    assert 0 < runaway.non_finite < 8
    assert runaway.loss_range == runaway.gradient_predictiveness == math.inf
    assert "of 8 steps" in runaway.note


def test_what_cannot_be_used_is_said() -> None:
    with pytest.raises(InputError, match="lr must be positive and finite, got 0"):
        smoothness(quadratic(torch.eye(2), torch.ones(2)), lr=0)
    with pytest.raises(InputError, match="count must be at least 1, got 0"):
        smoothness(quadratic(torch.eye(2), torch.ones(2)), lr=0.1, count=0)
    with pytest.raises(InputError, match="metric must be one of absolute, relative, filter, got 'l2'"):
        smoothness(quadratic(torch.eye(2), torch.ones(2)), lr=0.1, metric="l2")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("lr", "constant", "word"), [(1e-2, 0.0, ""), (1e-2, 1e4, "the loss range"), (1e-7, 0.0, "the steps")]
)
def test_rounding_is_said_where_it_is_a_part_of_what_is_measured(lr: float, constant: float, word: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 3))
        batch = (torch.randn(64, 10), torch.randint(3, (64,)))
    subject = Subject(model, batch, loss=lambda y, t: nn.functional.cross_entropy(y, t) + constant)
    single, double = (smoothness(subject, lr=lr, dtype=dtype) for dtype in (None, torch.float64))
    assert single.note.startswith(word)
    assert bool(single.note) == bool(word)
    assert not double.note
    assert (single.loss_range == pytest.approx(double.loss_range, rel=1e-2)) == (word == "")
