"""The loss along a step: exact on quadratics, and clear where there is nothing to see."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from torch import nn

from gainstage.errors import InputError, SubjectError, UnknownNameError
from gainstage.landscape import step_profile
from gainstage.landscape.loss_along import DIRECTIONS, DIVERGED
from gainstage.trace import Subject, serialization
from landscape.quadratics import Vector, quadratic, same, state_of

START = torch.tensor([1.0, -2.0, 0.5])


def bowl(*eigenvalues: float) -> Subject:
    return quadratic(torch.diag(torch.tensor(eigenvalues)).double(), START.double())


@settings(max_examples=30, deadline=None)
@drawn(st.lists(st.floats(0.01, 100), min_size=3, max_size=3))
def test_on_a_quadratic_it_is_the_parabola(eigenvalues: list[float]) -> None:
    given = bowl(*eigenvalues)
    a, w = torch.tensor(eigenvalues).double(), START.double()
    g, start = a * w, float((a * w * w).sum()) / 2
    slope, bend = float(g @ g), float((a * g * g).sum())
    steps = [factor * slope / bend for factor in (0.1, 0.5, 1.0, 1.9, 2.1, 4.0)]
    found = step_profile(given, steps=steps)
    assert found.slope == pytest.approx(slope, rel=1e-5)
    expected = [1 + (bend * step * step / 2 - slope * step) / start for step in steps]
    assert found.mean == pytest.approx(expected, rel=1e-5, abs=1e-5)
    # The minimum of a parabola lies in the middle between its start and where it is back at the start's height.
    assert found.best_step == pytest.approx(slope / bend)
    assert found.rises_at == pytest.approx(2.1 * slope / bend)
    assert found.relative == (found.mean,)
    assert found.losses == (pytest.approx(start, rel=1e-5),)


def test_divergence_is_where_the_threshold_is_passed_for_good() -> None:
    # w^2: a step goes to (1 - 2 eta) w, so the relative loss is (1 - 2 eta)^2.
    given = Subject(Vector(torch.ones(1)), torch.zeros(1, 1), forward=lambda model, _: model.w.square().sum())
    steps = [0.25, 1.2, 5.0, 20.0]
    found = step_profile(given, steps=steps, threshold=50.0)
    assert found.mean == pytest.approx([0.25, 1.96, 81, 1521], rel=1e-5)
    assert (found.rises_at, found.diverges_at) == (1.2, 5.0)
    assert step_profile(given, steps=steps).diverges_at == 20.0
    assert step_profile(given, steps=steps[:3]).diverges_at == math.inf
    # paper: Bjorck et al. 2018, a loss of 1000; of ten classes one knows nothing at log 10.
    assert pytest.approx(434.294, rel=1e-5) == DIVERGED


def test_a_dip_beyond_a_rise_is_not_overlooked() -> None:
    given = Subject(Vector(torch.zeros(1)), torch.zeros(1, 1), forward=lambda model, _: 2 + torch.sin(model.w[0]))
    # The direction is 1: the loss is 2 - sin eta, above its start between pi and two pi.
    found = step_profile(given, steps=[1.0, 4.0, 7.0, 9.5])
    assert found.rises_at == 9.5
    assert found.best_step == 1.0
    assert step_profile(given, steps=[1.0, 7.0]).rises_at == math.inf


def test_adams_direction_is_the_sign_before_any_step_and_the_optimizers_own_is_its_step() -> None:
    given = bowl(4.0, 1.0, 9.0)
    steps = [0.01, 0.1, 0.3]
    a, w = torch.tensor([4.0, 1.0, 9.0]).double(), START.double()
    start = float((a * w * w).sum())
    expected = [float((a * (w - step * w.sign()) ** 2).sum()) / start for step in steps]
    assert step_profile(given, direction="adam", steps=steps).mean == pytest.approx(expected, rel=1e-6)
    with_adam = given.replace(optimizer=torch.optim.Adam(given.model.parameters(), lr=1e-7))
    found = step_profile(with_adam, direction="optimizer", steps=steps)
    assert found.mean == pytest.approx(expected, rel=1e-6)
    assert found.slope == pytest.approx(float((a * w).abs().sum()), rel=1e-6)


def test_plain_sgd_goes_along_the_gradient_and_momentum_along_what_it_remembers() -> None:
    given = bowl(4.0, 1.0, 9.0)
    parameters = list(given.model.parameters())
    plain = given.replace(optimizer=torch.optim.SGD(parameters, lr=7.0))
    steps = [0.01, 0.1]
    expected = step_profile(given, steps=steps).mean
    assert step_profile(plain, direction="optimizer", steps=steps).mean == pytest.approx(expected, rel=1e-9)
    optimizer = torch.optim.SGD(parameters, lr=0.0, momentum=0.9)
    given.model.w.grad = torch.ones(3).double()
    optimizer.step()
    a, w = torch.tensor([4.0, 1.0, 9.0]).double(), START.double()
    way, start = a * w + 0.9, float((a * w * w).sum())
    moved = [float((a * (w - step * way) ** 2).sum()) / start for step in steps]
    found = step_profile(given.replace(optimizer=optimizer), direction="optimizer", steps=steps)
    assert found.mean == pytest.approx(moved, rel=1e-9)


def test_groups_go_at_the_ratios_of_their_rates() -> None:
    model = nn.Linear(2, 1)
    groups = [{"params": [model.weight], "lr": 0.01}, {"params": [model.bias], "lr": 0.001}]
    given = Subject(model, (torch.eye(2), torch.zeros(2, 1)), optimizer=torch.optim.SGD(groups))
    found = step_profile(given, direction="optimizer", steps=[0.1])
    F.mse_loss(model(torch.eye(2)), torch.zeros(2, 1)).backward()
    expected = sum(share * p.grad.square().sum() for share, p in zip((1, 0.1), model.parameters(), strict=True))
    assert found.slope == pytest.approx(float(expected), rel=1e-4)


def test_in_float64_a_fall_is_seen_that_float32_hides() -> None:
    # A fall of 1e-10 of the loss: of w^2 + 1 at w = 1e-4, with a hundredth of a step to the minimum.
    def loss(model: nn.Module, _: torch.Tensor) -> torch.Tensor:
        return 1 + model.w.square().sum()

    given = Subject(Vector(torch.full((1,), 1e-4)), torch.zeros(1, 1), forward=loss)
    hidden, seen = (step_profile(given, steps=[0.005, 0.05], dtype=dtype) for dtype in (None, torch.float64))
    assert hidden.mean == (1.0, 1.0)
    expected = [-1e-8 * (1 - (1 - 2 * step) ** 2) for step in (0.005, 0.05)]
    assert [value - 1 for value in seen.mean] == pytest.approx(expected, rel=1e-4)
    assert given.model.w.dtype == torch.float32


def test_the_slope_of_a_small_gradient_is_no_zero() -> None:
    given = Subject(Vector(torch.ones(2)), torch.zeros(1, 2), forward=lambda model, _: 1e-30 * model.w.sum())
    found = step_profile(given)
    assert found.slope == pytest.approx(2e-60, rel=1e-5)
    assert not found.note
    assert min(found.mean) < 1


@pytest.mark.parametrize("constant", [-3.0, 0.0])
def test_from_a_negative_loss_and_from_zero_lower_is_lower(constant: float) -> None:
    given = Subject(Vector(torch.ones(1)), torch.zeros(1, 1), forward=lambda model, _: model.w.sum() - 1 + constant)
    found = step_profile(given, steps=[0.5, 3.0])
    size = abs(constant) or 1.0
    assert found.mean == pytest.approx([1 - 0.5 / size, 1 - 3 / size])
    assert found.rises_at == math.inf
    assert found.best_step == 3.0
    assert "falls up to 3" in str(found)


def test_batches_have_a_row_each_and_what_it_cost() -> None:
    batches = [(torch.eye(2) * scale, torch.zeros(2, 1)) for scale in (1.0, 2.0, 3.0, 4.0)]
    found = step_profile(nn.Linear(2, 1), batches, count=3, steps=[0.3, 0.1])
    assert found.steps == (0.1, 0.3)
    assert [len(row) for row in found.relative] == [2, 2, 2]
    assert found.mean[0] == pytest.approx(sum(row[0] for row in found.relative) / 3)
    assert found.equivalents == pytest.approx(3 + 3 * 2 / 3)
    assert '"rises_at"' in serialization.to_json(found)


def test_the_default_steps_lie_around_what_promises_a_hundredth() -> None:
    found = step_profile(bowl(4.0, 1.0, 9.0))
    assert len(found.steps) == 25
    assert found.steps[-1] / found.steps[0] == pytest.approx(1e6)
    promised = [step * found.slope / found.losses[0] for step in found.steps[:5:4]]
    assert promised == pytest.approx([0.001, 0.01])
    assert found.steps[0] < found.best_step < found.rises_at < found.steps[-1]
    assert "rises above its start from" in str(found)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_zero_gradient_is_flat_and_said(direction: str) -> None:
    given = bowl(0.0, 0.0, 0.0)
    given = given.replace(optimizer=torch.optim.SGD(given.model.parameters(), lr=0.1))
    found = step_profile(given, direction=direction)
    assert set(found.mean) == {1.0}
    assert (found.slope, found.rises_at) == (0.0, math.inf)
    assert found.note == "the gradient is zero: no step changes the loss"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_said(value: float) -> None:
    given = Subject(Vector(torch.ones(1)), torch.zeros(1, 1), forward=lambda model, _: model.w.sum() * value)
    found = step_profile(given)
    assert found.note == f"the loss is {value} before any step"
    assert all(step > 0 and math.isfinite(step) for step in found.steps)
    assert str(found)


def test_a_loss_that_is_lost_on_the_way_is_infinite() -> None:
    given = Subject(Vector(torch.ones(1)), torch.zeros(1, 1), forward=lambda model, _: model.w.sum().log() + 1)
    found = step_profile(given, steps=[0.5, 2.0])
    assert found.mean[1] == found.diverges_at * math.inf == math.inf
    assert found.rises_at == 2.0


def test_half_precision_has_the_steps_that_it_can_hold() -> None:
    given = Subject(Vector(torch.ones(2).half()), torch.zeros(1, 2), forward=lambda model, _: model.w.sum() * 1e-3)
    found = step_profile(given)
    assert max(found.steps) <= 65504
    assert all(map(math.isfinite, found.mean))
    with pytest.raises(InputError, match=r"steps must be at most 6\.55e\+04, the largest number .* got 1e\+06"):
        step_profile(given, steps=[1.0, 1e6])


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"direction": "gradiant"}, UnknownNameError, "direction must be a known one.*Did you mean 'gradient'"),
        ({"direction": "optimizer"}, InputError, "direction 'optimizer' needs a subject with one, got None"),
        ({"steps": []}, InputError, "steps must hold at least one size, got none"),
        ({"steps": [0.1, -1.0]}, InputError, r"steps must be positive and finite, got -1\.0"),
        ({"steps": [math.nan]}, InputError, "steps must be positive and finite, got nan"),
        ({"threshold": 0.0}, InputError, r"threshold must be positive and finite, got 0\.0"),
        ({"count": 0}, InputError, "batches must be at least 1, got 0"),
        ({"norms": "off"}, InputError, "norms must be one of as is, train, eval, got 'off'"),
    ],
)
def test_arguments_out_of_range_are_named(arguments: dict, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        step_profile(bowl(1.0, 1.0, 1.0), **arguments)


def test_a_model_from_outside_is_no_zero_gradient() -> None:
    outside = nn.Linear(2, 1)
    given = Subject(nn.Linear(2, 1), torch.eye(2), forward=lambda _, x: outside(x).sum())
    with pytest.raises(SubjectError, match="got one that reaches none of them"):
        step_profile(given)
    assert outside.weight.grad is None


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_nothing_changes(direction: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    batches = [(torch.randn(8, 6), torch.randint(3, (8,))) for _ in range(2)]
    given = Subject(model, batches, optimizer=torch.optim.Adam(model.parameters()))
    F.cross_entropy(model(batches[0][0]), batches[0][1]).backward()
    given.optimizer.step()
    before = state_of(given)
    found = step_profile(given, direction=direction, steps=[0.1, 1.0])
    assert same(before, state_of(given))
    assert found == step_profile(given, direction=direction, steps=[0.1, 1.0])
    assert found != step_profile(given, direction=direction, steps=[0.1, 1.0], norms="eval")
