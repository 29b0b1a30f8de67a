"""The training of one network, halted at some steps so that a probe can look at it and at its next batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from gainstage.lab.apparatus.data import digits
from gainstage.lab.apparatus.networks import mlp, residual_mlp
from gainstage.sweep import Spec
from gainstage.sweep.data import Batches, loaded
from gainstage.sweep.engine.initial import built
from gainstage.sweep.losses import loss_function
from gainstage.sweep.settings import settings

# What a design may name in a word; anything else it names by a reference, ``package.module:function``.
NETWORKS: Mapping[str, Callable[..., nn.Module]] = {"mlp": mlp, "residual_mlp": residual_mlp}
DATA: Mapping[str, Callable[[], Any]] = {"digits": digits}
Options = Sequence[tuple[str, Any]]


@dataclass(frozen=True)
class Halt:
    """A network just before an update.

    Attributes:
        step: Updates so far.
        model: In training mode; the one that is trained, so a probe must leave it as it is.
        batch: Inputs and targets that the next update is made of.
        loss: Of that batch; not finite once the run has diverged.
    """

    step: int
    model: nn.Module
    batch: tuple[torch.Tensor, torch.Tensor]
    loss: float

    @property
    def diverged(self) -> bool:
        """Whether there is nothing left to probe."""
        return not math.isfinite(self.loss)


def halts(spec: Spec) -> Iterator[Halt]:
    """Trains the first cell of a specification by plain gradient descent, and halts where it is measured.

    Weights and batches are those of the sweep's engine.

    Args:
        spec: Its ``measure`` says where; the cell's ``lr``, ``batch_size``, ``seed``, ``init`` and ``scale`` count.

    Yields:
        A halt at every measured step, also of a run that has diverged: its model stays as it was then.

    Validity:
        Networks that draw no random numbers in training, so that a seed alone decides.
    """
    cell, data = spec.cells()[0], loaded(spec)
    chosen = settings(cell.values)
    model, batches = built(spec, cell, data), Batches(data, [chosen.order_seed], chosen.batch_size)
    function, loss, value = loss_function(spec, data), torch.zeros(()), 0.0
    for step in range(spec.steps + 1):
        inputs, targets = batches.at(step)
        if math.isfinite(value):
            loss = function(model(inputs), targets)
            value = float(loss.detach())
        if step in spec.measured:
            yield Halt(step, model, (inputs, targets), value)
        if step < spec.steps and math.isfinite(value):
            _descend_(model, loss, chosen.lr)


def _descend_(model: nn.Module, loss: torch.Tensor, lr: float) -> None:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(loss, parameters)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.sub_(gradient, alpha=lr)
