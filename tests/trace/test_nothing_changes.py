"""Recording and checking leave no trace of themselves, whatever happens."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from models import MODELS, vectors
from torch import nn
from torch.nn.modules import module as module_hooks
from torch.utils import _pytree as pytree

import gainstage as gs


def fingerprint(model: nn.Module, batch: Any, optimizer: torch.optim.Optimizer | None = None) -> dict[str, Any]:
    """Everything that must be bit for bit as it was."""
    state: dict[str, Any] = {"rng": (random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state())}
    state["global"] = (
        torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads(), torch.is_autocast_enabled("cpu"),
        dict(module_hooks._global_forward_hooks), dict(module_hooks._global_forward_pre_hooks),
    )  # fmt: skip
    for path, module in model.named_modules():
        plain = {key: value for key, value in vars(module).items() if not isinstance(value, (dict, list))}
        state[f"module {path}"] = (
            module.training,
            {key: value if isinstance(value, (int, bool)) else id(value) for key, value in plain.items()},
            {key: len(value) for key, value in vars(module).items() if isinstance(value, (dict, list))},
        )
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        state[f"tensor {name}"] = (
            id(tensor), tensor.requires_grad, tensor.detach().clone(), id(tensor.grad),
            len(tensor._backward_hooks or ()),
        )  # fmt: skip
        state[f"grad {name}"] = None if tensor.grad is None else tensor.grad.clone()
    for index, leaf in enumerate(pytree.tree_leaves(batch)):
        if isinstance(leaf, torch.Tensor):
            state[f"batch {index}"] = (id(leaf), leaf.detach().clone(), leaf.requires_grad, id(leaf.grad))
    if optimizer is not None:
        state["optimizer"] = str(optimizer.state_dict())
    return state


def assert_same(before: Any, after: Any, where: str = "") -> None:
    if isinstance(before, torch.Tensor):
        assert torch.equal(before, after), where
    elif isinstance(before, dict):
        assert before.keys() == after.keys(), where
        for key in before:
            assert_same(before[key], after[key], f"{where}/{key}")
    elif isinstance(before, (tuple, list)):
        assert len(before) == len(after), where
        for index, (left, right) in enumerate(zip(before, after, strict=True)):
            assert_same(left, right, f"{where}/{index}")
    else:
        assert before == after, where


@contextmanager
def unchanged(model: nn.Module, batch: Any, optimizer: torch.optim.Optimizer | None = None) -> Iterator[None]:
    before = fingerprint(model, batch, optimizer)
    yield
    assert_same(before, fingerprint(model, batch, optimizer))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_recording_changes_nothing_and_repeats(name: str) -> None:
    torch.manual_seed(0)
    model, batch = MODELS[name]()
    with unchanged(model, batch):
        first = gs.record(model, batch)
    assert gs.record(model, batch) == first
    assert first.layers


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_checking_changes_nothing(name: str) -> None:
    torch.manual_seed(0)
    model, batch = MODELS[name]()
    with unchanged(model, batch):
        gs.check(model, batch)


def test_existing_gradients_and_optimizer_state_stay() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    optimizer = torch.optim.Adam(model.parameters())
    inputs, targets = vectors()
    nn.functional.cross_entropy(model(inputs), targets).backward()
    optimizer.step()
    with unchanged(model, (inputs, targets), optimizer):
        gs.check(model, (inputs, targets), optimizer=optimizer, steps=5)


class Failing(nn.Module):
    """Has a batch norm that counts, then fails."""

    def __init__(self, error: type[BaseException], where: str) -> None:
        super().__init__()
        self.body, self.error, self.where = nn.Sequential(nn.Linear(8, 3), nn.BatchNorm1d(3)), error, where

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.body(x)
        if self.where == "forward":
            raise self.error("as planned")
        return Raise.apply(out, self.error) if self.where == "backward" else out


class Raise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, error: type[BaseException]) -> torch.Tensor:
        ctx.error = error
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *_grads: torch.Tensor) -> Any:
        raise ctx.error("as planned")


@pytest.mark.parametrize("where", ["forward", "backward", "loss"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_changes_nothing_either(error: type[BaseException], where: str) -> None:
    model, batch = Failing(error, where), vectors()

    def loss(*_: Any) -> torch.Tensor:
        raise error("as planned")

    expected = KeyboardInterrupt if error is KeyboardInterrupt else gs.GainstageError
    with unchanged(model, batch), pytest.raises(expected, match="as planned"):
        gs.check(model, batch, loss if where == "loss" else None)
    with unchanged(model, batch), pytest.raises(expected):
        gs.record(model, batch, loss if where == "loss" else None)


def test_an_optimizer_that_steps_in_the_backward_pass_does_not_step() -> None:
    model, batch = nn.Linear(8, 3), vectors()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(lambda _: optimizer.step())
    with unchanged(model, batch, optimizer):
        gs.record(model, batch)
