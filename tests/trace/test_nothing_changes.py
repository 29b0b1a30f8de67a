"""Recording and checking leave no trace of themselves, whatever happens."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from models import MODELS, vectors
from torch import nn

import gainstage as gs
from zoo.failing import Raise
from zoo.fingerprint import unchanged


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


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_checking_with_an_optimizer_changes_nothing(name: str) -> None:
    torch.manual_seed(0)
    model, batch = MODELS[name]()
    parameters = [p for p in model.parameters() if not isinstance(p, nn.UninitializedParameter)]
    optimizer = torch.optim.SGD(parameters, lr=0.1) if parameters else None
    with unchanged(model, batch, optimizer):
        gs.check(model, batch, optimizer=optimizer)


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
    with unchanged(model, batch, optimizer):
        gs.check(model, batch, optimizer=optimizer)
