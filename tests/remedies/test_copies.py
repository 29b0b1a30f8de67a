"""Copies: model, optimizer and what belongs to them go together; nothing reaches back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from models import MODELS, vectors
from torch import nn

import gainstage as gs
from gainstage import remedies
from gainstage.errors import SubjectError
from gainstage.remedies.changes import module_at, refit_optimizer_, replace_module_
from gainstage.trace.copies import copied


def stepped(model: nn.Module, **groups: Any) -> gs.Subject:
    """A subject whose optimizer has state, and whose model has gradients."""
    optimizer = torch.optim.AdamW(groups.get("groups") or model.parameters(), lr=0.1)
    inputs, targets = vectors()
    F.cross_entropy(model(inputs), targets).backward()
    optimizer.step()
    return gs.Subject(model, (inputs, targets), None, optimizer)


def held(subject: gs.Subject) -> list[nn.Parameter]:
    assert subject.optimizer is not None
    return [parameter for group in subject.optimizer.param_groups for parameter in group["params"]]


def test_the_copied_optimizer_holds_the_copied_parameters_with_its_state() -> None:
    old = stepped(nn.Linear(8, 3))
    new = copied(old)
    assert [id(p) for p in held(new)] == [id(p) for p in new.model.parameters()]
    for mine, theirs in zip(held(old), held(new), strict=True):
        assert mine is not theirs
        assert torch.equal(old.optimizer.state[mine]["exp_avg"], new.optimizer.state[theirs]["exp_avg"])

    before = old.model.weight.clone()
    new.model(vectors()[0]).sum().backward()
    new.optimizer.step()
    assert torch.equal(before, old.model.weight)


def test_groups_and_their_options_stay() -> None:
    model = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 3))
    groups = [{"params": model[0].parameters(), "lr": 0.5}, {"params": model[1].parameters()}]
    new = copied(stepped(model, groups=groups))
    assert [group["lr"] for group in new.optimizer.param_groups] == [0.5, 0.1]
    assert [len(group["params"]) for group in new.optimizer.param_groups] == [2, 2]


def test_tied_parameters_stay_tied() -> None:
    model = copied(gs.Subject(*MODELS["tied"]())).model
    assert model.out.weight is model.embedding.weight


class WithLoss(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(outputs, targets) + self.linear.weight.square().sum()

    def step(self, model: nn.Module, batch: Any) -> torch.Tensor:
        return self.loss(model(batch[0]), batch[1])


def test_a_loss_that_belongs_to_the_model_belongs_to_its_copy_after() -> None:
    model = WithLoss()
    new = copied(gs.Subject(model, vectors(), model.loss, forward=model.step))
    assert new.loss.__self__ is new.model
    assert new.forward.__self__ is new.model

    loss = nn.Linear(3, 1)
    assert copied(gs.Subject(model, vectors(), loss)).loss is not loss
    assert copied(gs.Subject(model, vectors(), F.cross_entropy)).loss is F.cross_entropy


def test_only_what_was_removed_leaves_the_optimizer() -> None:
    model, foreign = nn.Linear(8, 3), nn.Parameter(torch.zeros(2))
    new = copied(stepped(model, groups=[*model.parameters(), foreign]))
    weight, bias, other = held(new)
    refit_optimizer_(new, removed=[bias])
    assert [id(p) for p in held(new)] == [id(weight), id(other)]
    assert set(new.optimizer.state) == {weight}
    refit_optimizer_(new, redrawn=[weight])
    assert not new.optimizer.state
    assert [id(p) for p in held(new)] == [id(weight), id(other)]
    refit_optimizer_(new.replace(optimizer=None), redrawn=[weight])


def test_a_fixed_subject_trains_on() -> None:
    old = stepped(nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3)))
    new = remedies.reinitialize(remedies.drop_bias(old, modules=("0",)))
    inputs, targets = vectors()
    new.optimizer.zero_grad()
    F.cross_entropy(new.model(inputs), targets).backward()
    weight = new.model[0].weight.clone()
    new.optimizer.step()
    assert not torch.equal(weight, new.model[0].weight)


def test_a_module_is_replaced_wherever_it_is_registered() -> None:
    shared = nn.ReLU()
    model = nn.Sequential(shared, nn.Linear(2, 2), nn.Sequential(shared, nn.Tanh()), shared)
    replace_module_(model, shared, nn.Identity())
    assert [type(m).__name__ for m in (model[0], model[2][0], model[2][1], model[3])] == [
        "Identity", "Identity", "Tanh", "Identity",
    ]  # fmt: skip
    assert module_at(model, "2.1") is model[2][1]
    with pytest.raises(SubjectError, match=r"module must be a path of Sequential, got '2\.7'"):
        module_at(model, "2.7")


def test_what_cannot_be_copied_is_said_in_one_line() -> None:
    model = nn.Linear(8, 3)
    model.cache = model.weight * 2
    with pytest.raises(SubjectError, match="the model must be copyable") as caught:
        copied(gs.Subject(model, vectors()))
    assert "\n" not in str(caught.value)


def test_the_copy_of_a_scripted_model_has_gradients_of_its_own() -> None:
    model = torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)))
    batch = torch.randn(3, 4), torch.randint(2, (3,))
    twin = copied(gs.Subject(model, batch)).model
    twin(batch[0]).square().sum().backward()
    assert all(parameter.grad is not None for parameter in twin.parameters())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(parameter.is_leaf and parameter.requires_grad for parameter in twin.parameters())
