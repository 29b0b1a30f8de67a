"""`Setup`: everything that a training is made of, so that an operator can change any part of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import nn

from gainstage import sweep

Kind = Literal["classes", "binary", "values"]
Loss = Callable[[Any, Any], torch.Tensor]
Weights = Iterable[nn.Parameter]


@dataclass(frozen=True)
class Recipe:
    """An optimizer with its learning rate."""

    kind: Literal["sgd", "adam", "adamw"]
    lr: float
    momentum: float = 0.9
    weight_decay: float = 0.0

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        if self.kind == "sgd":
            return torch.optim.SGD(parameters, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
        if self.kind == "adam":
            return torch.optim.Adam(parameters, lr=self.lr, weight_decay=self.weight_decay)
        return torch.optim.AdamW(parameters, lr=self.lr, weight_decay=self.weight_decay)


def all_parameters(model: nn.Module) -> list[nn.Parameter]:
    return list(model.parameters())


@dataclass(frozen=True)
class Setup:
    """What is trained and how.

    Attributes:
        model: Freshly initialized.
        data: Samples to train on, and held-out ones for the score.
        loss: Of outputs and targets.
        recipe: The optimizer.
        batch_size, steps: Of a training.
        kind: What the score is: accuracy over classes, accuracy of a binary decision, or explained variance.
        threshold: Of the outputs, for a binary decision.
        held: The parameters that the optimizer is given.
        deeper: The same network with so many more hidden blocks, where that can be had.
    """

    model: nn.Module
    data: sweep.Data
    loss: Loss
    recipe: Recipe
    batch_size: int
    steps: int
    kind: Kind
    threshold: float = 0.0
    held: Callable[[nn.Module], Weights] = all_parameters
    deeper: Callable[[int], nn.Module] | None = None

    def optimizer(self) -> torch.optim.Optimizer:
        return self.recipe.build(self.held(self.model))

    def with_inputs(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Setup:
        """The same change to the inputs of both parts of the data."""
        data = self.data
        inputs = {"train_inputs": change(data.train_inputs), "test_inputs": change(data.test_inputs)}
        return replace(self, data=replace(data, **inputs))

    def with_targets(self, change: Callable[[torch.Tensor], torch.Tensor], *, held_out: bool) -> Setup:
        """Changed targets, where ``held_out`` of the held-out part too."""
        data = self.data
        held = change(data.test_targets) if held_out else data.test_targets
        return replace(self, data=replace(data, train_targets=change(data.train_targets), test_targets=held))


@dataclass(frozen=True)
class Architecture:
    """A network with its own data, loss and optimizer, all of which train well together."""

    name: str
    model: Callable[[], nn.Module]
    data: Callable[[], sweep.Data]
    loss: Callable[[], Loss]
    recipe: Recipe
    kind: Kind
    batch_size: int = 64
    steps: int = 200
    threshold: float = 0.0
    deeper: Callable[[int], nn.Module] | None = None

    def setup(self) -> Setup:
        """Drawn from torch's generator as it stands."""
        return Setup(
            self.model(), self.data(), self.loss(), self.recipe, self.batch_size, self.steps, self.kind,
            self.threshold, deeper=self.deeper,
        )  # fmt: skip


MAPS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
NORMS = (*BATCH_NORMS, nn.LayerNorm, nn.GroupNorm)
RECTIFIERS = (nn.ReLU, nn.LeakyReLU)
ACTIVATIONS = (*RECTIFIERS, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU)


def found(model: nn.Module, kinds: tuple[type[nn.Module], ...]) -> list[tuple[str, Any]]:
    """Modules of these kinds by path, in order of registration, which is that of execution here."""
    return [(name, module) for name, module in model.named_modules() if isinstance(module, kinds)]


def hidden_maps(model: nn.Module) -> list[Any]:
    """Linear layers and convolutions but for the read-out, which is the last of them."""
    return [module for _, module in found(model, MAPS)][:-1]


def read_out(model: nn.Module) -> Any:
    return found(model, MAPS)[-1][1]


def hidden_weights(model: nn.Module) -> list[nn.Parameter]:
    """Matrices and kernels, also those of recurrent layers and packed attention, but for tables and the read-out."""
    tables = {id(module.weight) for _, module in found(model, (nn.Embedding,))}
    last = id(read_out(model).weight)
    named = [(name, p) for name, p in model.named_parameters() if p.ndim > 1 and id(p) not in {*tables, last}]
    return [parameter for name, parameter in named if "weight" in name]


def swapped(model: nn.Module, path: str, module: nn.Module) -> None:
    """Puts a module in the place of another."""
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)


def middle(items: list[Any]) -> Any:
    return items[len(items) // 2]


def first_share(items: list[Any], share: float) -> list[Any]:
    """At least one of them where there are any."""
    return items[: max(1, round(share * len(items)))]


def batches(setup: Setup, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of whole passes in a seeded order, for ever."""
    order = torch.Generator().manual_seed(seed)
    count = len(setup.data.train_inputs)
    while True:
        shuffled = torch.randperm(count, generator=order)
        for picked in shuffled.split(setup.batch_size):
            if len(picked) == setup.batch_size:
                yield setup.data.train_inputs[picked], setup.data.train_targets[picked]
