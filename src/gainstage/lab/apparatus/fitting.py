"""Training by hand, for what a sweep's rows do not tell: the trained network itself, or the step of a given loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from gainstage.lab.apparatus.draws import drawn
from gainstage.lab.judge import Row
from gainstage.seeding import generator, preserved_rng
from gainstage.sweep import Data
from gainstage.sweep.data import Order

# Samples that are evaluated at once.
_PIECE = 2048


@dataclass(frozen=True)
class Training:
    """Plain SGD with cross-entropy.

    Attributes:
        lr, momentum: Of torch's SGD.
        batch_size: Of each update.
        steps: Updates, at the most.
    """

    lr: float
    momentum: float
    batch_size: int
    steps: int


def he_started(network: str, options: Mapping[str, Any], seed: int) -> nn.Module:
    """A network with He's normal weights, Var W = 2/fan_in, in every layer, and no biases.

    Args:
        network: A reference to a factory.
        options: Its keywords, and ``norm`` as `drawn` has it.
        seed: Of the weights.
    """
    with preserved_rng(seed):
        return drawn(network, "he", **options)


def fit(
    model: nn.Module, data: Data, training: Training, seed: int, watch: Callable[[int], bool] | None = None
) -> bool:
    """Trains in place.

    Args:
        model: On the data's device.
        data: Whose training set is used.
        training: How.
        seed: Of the order of the samples, and of what the model draws while it trains.
        watch: Called with the number of updates made, before each and after the last; True ends the training.

    Returns:
        False if a loss was not finite; the training ends there.
    """
    order = Order(seed, data.samples, training.batch_size)
    updates = torch.optim.SGD(model.parameters(), training.lr, training.momentum)
    with preserved_rng(generator(seed, "training").initial_seed()):
        for step in range(training.steps):
            if watch and watch(step):
                return True
            chosen = order.batch(step).to(data.train_inputs.device)
            updates.zero_grad()
            loss = F.cross_entropy(model(data.train_inputs[chosen]), data.train_targets[chosen])
            loss.backward()
            updates.step()
            if not math.isfinite(loss.item()):
                return False
        if watch:
            watch(training.steps)
    return True


@torch.no_grad()
def outputs(model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """What a network says in evaluation mode; leaves it in training mode."""
    model.eval()
    found = torch.cat([model(piece) for piece in inputs.split(_PIECE)])
    model.train()
    return found


def matched_row(
    model: nn.Module, data: Data, training: Training, seed: int, *, level: float, every: int,
    prepare: Callable[[nn.Module, Data], None] | None = None,
) -> Row:  # fmt: skip
    """Trains until the training loss, in evaluation mode over the whole set, is at or below a level.

    A run that never gets there has the accuracy of chance and no loss: the worst outcome, fixed beforehand.

    Args:
        model, data, training, seed: As `fit`.
        level: Of the training loss, in nats.
        every: Updates between two looks.
        prepare: Called with model and data before each look, such as to set running statistics.

    Returns:
        ``reached``, ``step``, and the test figures at the first look at which the level was reached.
    """
    found: Row = {}

    def looks(step: int) -> bool:
        if step % every and step != training.steps:
            return False
        if prepare:
            prepare(model, data)
        said = outputs(model, data.train_inputs)
        loss = float(F.cross_entropy(said, data.train_targets))
        if loss <= level:
            found.update(reached=True, step=step, train_loss=loss, train_accuracy=accuracy(said, data.train_targets))
        return bool(found)

    fit(model, data, training, seed, looks)
    if found:
        said = outputs(model, data.test_inputs)
        loss = float(F.cross_entropy(said, data.test_targets))
        return {**found, "test_loss": loss, "test_accuracy": accuracy(said, data.test_targets)}
    chance = 1 / (int(data.test_targets.max()) + 1)
    return {
        "reached": False, "step": None, "train_loss": None, "train_accuracy": None, "test_loss": None,
        "test_accuracy": chance,
    }  # fmt: skip


def accuracy(said: torch.Tensor, targets: torch.Tensor) -> float:
    """The share of samples whose class has the largest output."""
    return (said.argmax(1) == targets).sum().item() / len(targets)
