"""Networks built and trained one by one, where a measurement looks inside them on the way."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gainstage import schemes
from gainstage.seeding import preserved_rng
from gainstage.sweep import Data
from gainstage.sweep.data import Order


def initialized(model: nn.Module, seed: int, *, scheme: str = "he_normal", scale: float = 1.0) -> nn.Module:
    """The model with weights of a scheme, those of two and more dimensions times ``scale``; in place."""
    with preserved_rng(seed):
        schemes.initialize(model, scheme=scheme, seed=seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2 and scale != 1:
                parameter.mul_(scale)
    return model


def batches(data: Data, seed: int, size: int, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of so many updates: a new permutation for each epoch."""
    order = Order(seed, data.samples, size)
    for step in range(steps):
        chosen = order.batch(step)
        yield data.train_inputs[chosen], data.train_targets[chosen]


def sgd_step(model: nn.Module, inputs: Tensor, targets: Tensor, lr: float) -> float:
    """One plain step on the cross-entropy of a batch; the loss before it."""
    parameters = list(model.parameters())
    loss = F.cross_entropy(model(inputs), targets)
    gradients = torch.autograd.grad(loss, parameters)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.sub_(gradient, alpha=lr)
    return float(loss.detach())


@torch.no_grad()
def test_accuracy(model: nn.Module, data: Data) -> float:
    """In evaluation mode; the mode is left as it was."""
    was = model.training
    model.eval()
    outputs = model(data.test_inputs)
    model.train(was)
    return float((outputs.argmax(1) == data.test_targets).float().mean())
