"""Short runs at rates of one's own: the reference is a loop written out, and the ratios of groups stay."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from gainstage.errors import SubjectError
from gainstage.landscape.training import gradients_kept, rate_ratios, set_rate_, trained
from gainstage.trace import Subject
from gainstage.trace.copies import copied

RATES = (0.1, 0.4, 0.2, 0.05)


def subject(optimizer: str = "sgd") -> Subject:
    made = torch.Generator().manual_seed(0)
    model = nn.Linear(3, 1).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=made))
    batch = (torch.randn(8, 3, generator=made).double(), torch.randn(8, 1, generator=made).double())
    groups = [{"params": [model.weight], "lr": 0.2}, {"params": [model.bias], "lr": 0.05}]
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
    return Subject(model, batch, optimizer=kinds[optimizer](groups))


def test_a_run_is_the_loop_written_out() -> None:
    given = subject()
    found = trained(copied(given), len(RATES), 0, lambda _: None, rate=lambda step: RATES[step])
    (inputs, targets), weight, bias = given.batches.first(), *(p.detach().clone() for p in given.model.parameters())
    expected = []
    for rate in RATES:
        error = inputs @ weight.mT + bias - targets
        expected.append(float(error.square().mean()))
        weight = weight - rate * 2 * (error.mT @ inputs) / len(inputs)
        bias = bias - rate / 4 * 2 * error.mean(0)
    assert found == pytest.approx(expected, rel=1e-12)


def test_without_rates_the_optimizers_own_are_taken() -> None:
    given = subject()
    own = trained(copied(given), 5, 0, lambda _: None)
    assert own == trained(copied(given), 5, 0, lambda _: None, rate=lambda _: 0.2)
    assert own != trained(copied(given), 5, 0, lambda _: None, rate=lambda _: 0.1)


def test_a_run_ends_with_the_first_loss_above_the_limit_and_tells_all_its_steps() -> None:
    told: list[int] = []
    found = trained(subject(), 50, 0, told.append, above=100.0, rate=lambda _: 5.0)
    assert found[-1] > 100 >= max(found[:-1])
    assert sum(told) == 50
    assert not math.isfinite(trained(subject(), 800, 0, lambda _: None, rate=lambda _: 5.0)[-1])


def test_every_batch_is_used_once_before_one_is_used_again() -> None:
    # The loss is its batch's number: nothing is learned.
    model = nn.Linear(1, 1)
    batches = [torch.full((1, 1), float(place)) for place in range(5)]
    given = Subject(model, batches, forward=lambda model, x: x.sum() + 0 * model.weight.sum())
    found = trained(copied(given), 12, 3, lambda _: None)
    assert sorted(found[:5]) == sorted(found[5:10]) == [0, 1, 2, 3, 4]
    assert found == trained(copied(given), 12, 3, lambda _: None)
    assert found != trained(copied(given), 12, 4, lambda _: None)


@pytest.mark.parametrize("tensor", [False, True])
def test_groups_keep_their_ratios(*, tensor: bool) -> None:
    optimizer = subject("adam").optimizer
    assert optimizer is not None
    if tensor:
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(group["lr"], dtype=torch.float64)
    kept, ratios = optimizer.param_groups[0]["lr"], rate_ratios(optimizer)
    assert ratios == (1.0, 0.25)
    set_rate_(optimizer, 0.8, ratios)
    assert [float(group["lr"]) for group in optimizer.param_groups] == [0.8, 0.2]
    assert rate_ratios(optimizer) == ratios
    # A tensor stays the same one: a captured graph reads it.
    assert not tensor or optimizer.param_groups[0]["lr"] is kept


def test_ratios_before_a_warm_up_are_those_that_it_leads_to() -> None:
    optimizer = subject().optimizer
    assert optimizer is not None
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step / 10)
    assert [group["lr"] for group in optimizer.param_groups] == [0, 0]
    assert rate_ratios(optimizer) == (1.0, 0.25)
    for group in optimizer.param_groups:
        group.pop("initial_lr")
    assert rate_ratios(optimizer) == (1.0, 1.0)


def test_a_group_that_is_held_still_stays_so() -> None:
    given = subject()
    assert given.optimizer is not None
    given.optimizer.param_groups[1]["lr"] = 0.0
    run, bias = copied(given), given.model.bias.detach().clone()
    trained(run, 4, 0, lambda _: None, rate=lambda _: 0.3)
    assert torch.equal(run.model.bias, bias)
    assert not torch.equal(run.model.weight, given.model.weight)


def test_a_copy_of_an_optimizer_with_a_scheduler_steps_on_its_own() -> None:
    given = subject()
    torch.optim.lr_scheduler.LambdaLR(given.optimizer, lambda step: 1 + step)
    before = copy.deepcopy(given.model.state_dict())
    trained(copied(given), 3, 0, lambda _: None, rate=lambda _: 0.3)
    assert all(torch.equal(value, before[name]) for name, value in given.model.state_dict().items())
    assert [group["lr"] for group in given.optimizer.param_groups] == [0.2, 0.05]


def test_what_cannot_be_trained_is_said_in_a_line() -> None:
    given = subject()
    with pytest.raises(SubjectError, match="without a closure, got LBFGS"):
        trained(given.replace(optimizer=torch.optim.LBFGS(given.model.parameters())), 1, 0, lambda _: None)
    with pytest.raises(SubjectError, match=r"must be trainable, got RuntimeError: .* \(step 0\)\. Check"):
        trained(given.replace(batches=(torch.zeros(2, 7).double(), torch.zeros(2, 1))), 1, 0, lambda _: None)


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_failure_after_the_first_step_ends_a_run_if_someone_is_told(after: int) -> None:
    class Fails(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls = getattr(self, "calls", 0) + 1
            if self.calls > after:
                raise ArithmeticError("made to fail")
            return super().forward(x)

    given, told, steps = Subject(Fails(3, 1), (torch.randn(4, 3), torch.zeros(4, 1))), list[SubjectError](), list[int]()
    with pytest.raises(SubjectError, match=rf"ArithmeticError: made to fail \(step {after}\)"):
        trained(copied(given), 6, 0, lambda _: None)
    if after == 0:
        with pytest.raises(SubjectError, match="made to fail"):
            trained(copied(given), 6, 0, lambda _: None, failed=told.append)
        assert not told
        return
    found = trained(copied(given), 6, 0, steps.append, failed=told.append)
    assert len(found) == after + 1
    assert found[-1] == math.inf
    assert all(map(math.isfinite, found[:-1]))
    assert "made to fail" in str(told[0])
    assert sum(steps) == 6


def test_gradients_are_put_back_also_on_failure() -> None:
    given = subject()
    given.model.weight.grad = kept = torch.ones(1, 3).double()

    def fails() -> None:
        with gradients_kept(given):
            given.model(given.batches.first()[0]).sum().backward()
            raise ArithmeticError("made to fail")

    with pytest.raises(ArithmeticError, match="made to fail"):
        fails()
    assert given.model.weight.grad is kept
    assert given.model.bias.grad is None
