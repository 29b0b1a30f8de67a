"""The suggested learning rate: known edges, and any optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gainstage.errors import InputError, SubjectError, UnknownNameError
from gainstage.landscape import suggest_lr
from gainstage.landscape.learning_rate.margins import NOISE, SAFETY, edge_of, recommended_rate, safe_rate
from gainstage.landscape.learning_rate.search import STEPS
from gainstage.landscape.learning_rate.updates import OPTIMIZERS
from gainstage.trace import Subject
from landscape.lr_cases import classes, network, require_whole
from landscape.quadratics import quadratic, same, tensors_in


@pytest.fixture(autouse=True)
def _seeded() -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("top", [0.01, 1.0, 300.0])
@pytest.mark.parametrize(("optimizer", "momentum", "within"), [("sgd", 0.0, 5), ("momentum", 0.9, 15)])
def test_on_a_quadratic_the_safe_maximum_lies_below_the_edge(
    top: float, optimizer: str, momentum: float, within: float
) -> None:
    # Fourteen steps and one batch: a bracket of the edge 2 (1 + mu) / lambda that stays a few times wide.
    edge = 2 * (1 + momentum) / top
    found = suggest_lr(
        quadratic(torch.diag(torch.tensor([top, top / 3, top / 50])), torch.ones(3)), optimizer=optimizer
    )
    require_whole(found)
    assert edge / within < found.safe_max < edge
    assert found.curvature_limit == pytest.approx(2 / top, rel=0.02)
    assert all(run.held == (run.lr < edge) for run in found.runs)


def test_a_scaled_loss_has_a_scaled_rate() -> None:
    data, model = classes(), network()
    found, scaled = (
        suggest_lr(model, data, lambda y, t, scale=scale: scale * F.cross_entropy(y, t), optimizer="sgd")
        for scale in (1.0, 1024.0)
    )
    assert scaled.recommended * 1024 == pytest.approx(found.recommended, rel=1e-3)
    assert [run.held for run in scaled.runs] == [run.held for run in found.runs]


def test_batches_of_different_losses_hide_no_edge() -> None:
    found: list[float] = []
    for seed in range(6):
        torch.manual_seed(seed)
        inputs = torch.randn(256, 4)
        data = list(zip(inputs.split(16), inputs.sum(1, keepdim=True).split(16), strict=True))
        found.append(suggest_lr(nn.Linear(4, 1), data, optimizer="sgd").recommended)
    # The same task with other draws: the rates are of one size.
    assert max(found) < 10 * min(found)


def test_the_runs_bracket_what_is_said() -> None:
    found = suggest_lr(network(), classes(), optimizer="sgd")
    assert found.held is not None
    assert found.lost is not None
    assert [run.lr for run in found.runs] == sorted(run.lr for run in found.runs)
    assert found.held == max(run.lr for run in found.runs if run.held)
    assert found.lost == min(run.lr for run in found.runs if not run.held)
    assert found.safe_max == pytest.approx(math.sqrt(found.held * found.lost) * 10**-SAFETY)
    assert f"held at {found.held:.2g} and lost their way at {found.lost:.2g}" in found.reason
    assert all(len(run.losses) <= STEPS for run in found.runs)


# Margins


def test_the_edge_of_a_bracket_and_of_half_a_one() -> None:
    assert edge_of(0.1, 0.4) == pytest.approx(0.2)
    assert 0.1 < edge_of(0.1, math.inf) < 0.2
    assert 0.2 < edge_of(0.0, 0.4) < 0.4
    assert 1 < 1 / safe_rate(1.0) < 3


def test_more_noise_and_a_smaller_promise_give_a_smaller_rate_up_to_the_noise_that_was_seen() -> None:
    base = recommended_rate("plain", 1.0, 0.1, 1.0)
    assert recommended_rate("plain", 1.0, 0.1, 2.0) < base < recommended_rate("plain", 1.0, 0.2, 1.0)
    assert recommended_rate("plain", 1.0, 0.1, 1e9) == recommended_rate("plain", 1.0, 0.1, NOISE[1])
    assert recommended_rate("plain", 1.0, 0.1, 0.0) == recommended_rate("plain", 1.0, 0.1, NOISE[0])
    assert recommended_rate("plain", 8.0, 0.8, 1.0) == pytest.approx(8 * base)


# The optimizer


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_by_name(optimizer: str) -> None:
    found = suggest_lr(network(), classes(), optimizer=optimizer)
    require_whole(found)
    assert found.family == {"sgd": "plain", "momentum": "momentum"}.get(optimizer, "adaptive")


def test_without_any_it_is_adam() -> None:
    model, data = network(), classes()
    assert suggest_lr(model, data) == suggest_lr(model, data, optimizer="adam")


Builder = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
OWN: dict[str, tuple[Builder, str]] = {
    "SGD": (lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=1e-3), "plain"),
    "SGD with momentum 0.9": (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True), "momentum"),
    "AdamW": (lambda p: torch.optim.AdamW(p, amsgrad=True), "adaptive"),
    "RMSprop": (torch.optim.RMSprop, "adaptive"),
    "Adagrad": (torch.optim.Adagrad, "adaptive"),
    "Adadelta": (torch.optim.Adadelta, "adaptive"),
    "Adamax": (torch.optim.Adamax, "adaptive"),
    "NAdam": (torch.optim.NAdam, "adaptive"),
    "RAdam": (torch.optim.RAdam, "adaptive"),
    "ASGD": (torch.optim.ASGD, "plain"),
}


@pytest.mark.parametrize("name", OWN)
def test_the_subjects_own_optimizer(name: str) -> None:
    build, family = OWN[name]
    model = network()
    found = suggest_lr(Subject(model, classes(), optimizer=build(list(model.parameters()))))
    require_whole(found)
    assert (found.optimizer, found.family) == (name, family)


def adam(model: nn.Sequential, *, first: Any = 1e-2, last: Any = 1e-3) -> torch.optim.Optimizer:
    groups = [{"params": model[0].parameters(), "lr": first}, {"params": model[-1].parameters(), "lr": last}]
    return torch.optim.Adam(groups)


def test_its_own_rate_does_not_matter_its_groups_ratios_do() -> None:
    model, data = network(), classes()
    found = suggest_lr(Subject(model, data, optimizer=adam(model)))
    require_whole(found)
    assert any("keep their ratios" in note for note in found.notes)
    other = suggest_lr(Subject(model, data, optimizer=adam(model, first=1.0, last=0.1)))
    assert other.recommended == pytest.approx(found.recommended, rel=1e-3)
    alone = suggest_lr(Subject(model, data, optimizer=torch.optim.Adam(model[0].parameters())))
    still = suggest_lr(Subject(model, data, optimizer=adam(model, last=0.0)))
    assert still.recommended == pytest.approx(alone.recommended, rel=1e-3)


def test_a_rate_that_is_a_tensor_is_left_as_it_is() -> None:
    model, data = network(), classes()
    rates = torch.tensor(1e-2), torch.tensor(1e-3)
    found = suggest_lr(Subject(model, data, optimizer=adam(model, first=rates[0], last=rates[1])))
    assert [float(rate) for rate in rates] == pytest.approx([1e-2, 1e-3])
    plain = suggest_lr(Subject(model, data, optimizer=adam(model)))
    assert found.recommended == pytest.approx(plain.recommended, rel=1e-3)


def test_before_a_warm_up_it_is_as_after_it() -> None:
    model, data = network(), classes()
    optimizer = adam(model)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step / 10)
    found = suggest_lr(Subject(model, data, optimizer=optimizer))
    assert [group["lr"] for group in optimizer.param_groups] == [0, 0]
    assert found == suggest_lr(Subject(model, data, optimizer=adam(model)))


def test_a_state_from_earlier_steps_counts() -> None:
    model, data = network(), classes()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for inputs, targets in data:
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    before = tensors_in(optimizer.state_dict())
    found = suggest_lr(Subject(model, data, optimizer=optimizer))
    require_whole(found)
    assert same(before, tensors_in(optimizer.state_dict()))
    assert found.recommended != suggest_lr(model, data).recommended


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (torch.optim.LBFGS, "without a closure, got LBFGS. Name another: optimizer='sgd'"),
        (torch.optim.Rprop, "use its learning rate at every step, got Rprop"),
        (lambda p: torch.optim.SGD(p, lr=0.1, maximize=True), "must lower the loss, got SGD with maximize=True"),
        (lambda _: torch.optim.SGD(network().parameters()), "hold trainable parameters of the model, got SGD that"),
    ],
)
def test_an_optimizer_that_cannot_be_told_a_rate_is_refused(build: Builder, match: str) -> None:
    model = network()
    given = Subject(model, classes(), optimizer=build(list(model.parameters())))
    with pytest.raises(SubjectError, match=match):
        suggest_lr(given)
    require_whole(suggest_lr(given, optimizer="sgd"))


def test_a_name_that_is_none() -> None:
    with pytest.raises(UnknownNameError, match=r"optimizer must be a known one, got 'adma'\. Did you mean 'adam'"):
        suggest_lr(network(), classes(), optimizer="adma")
    with pytest.raises(InputError, match=r"must be a name, got Adam\. Pass a built one as Subject"):
        suggest_lr(network(), classes(), optimizer=torch.optim.Adam)
