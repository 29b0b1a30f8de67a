"""Very deep residual perceptrons, a few of equal shape trained side by side with a learning rate each.

All have one program, h + s·W₂(φ(W₁(φ(h + b₁) + b₂) + b₃) + b₄) + b₅ with scalars s and b for each block, which is
Fixup's network; SkipInit's is the same with s = α. They differ in their first values alone, so that these are what is
compared. Batch norms, where there are any, stand before each activation. A sweep would compute each kind of net by
itself, and at hundreds of layers that costs more than the arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gainstage.lab.apparatus.devices import device_of
from gainstage.seeding import generator
from gainstage.sweep import Data
from gainstage.sweep.references import resolve

# Samples of the last statistics.
_STATISTICS = 512
_SCALARS = ("alpha", "bias", "close")


@dataclass(frozen=True)
class Start:
    """What a net starts from, and how fast it learns.

    Attributes:
        lr: Of plain gradient descent.
        multiplier: s of every block: 1, or SkipInit's α.
        first: What He's draws of all but the last map of a branch are multiplied with.
        last: The same for the last map of a branch.
        read_out: The same for the read-out.
    """

    lr: float
    multiplier: float = 1.0
    first: float = 1.0
    last: float = 1.0
    read_out: float = 1.0


@dataclass(frozen=True)
class Shape:
    """Of all nets of a stack.

    Attributes:
        blocks: Residual blocks.
        maps: Linear maps of a branch.
        width: Of the stream.
        normalized: Whether a batch norm stands before each activation.
        scalar_rate: What the rate of scalars (s and b) is multiplied with.
    """

    blocks: int
    maps: int
    width: int
    normalized: bool = False
    scalar_rate: float = 1.0


class Stack:
    """Nets of one shape, computed together; a net that overflows leaves the others as they are.

    Args:
        shape: Of all of them.
        starts: One for each net.
        inputs, classes: Features of the first and the last layer.
        seed: Of the weights: those of net i are the same as of net j, but for what their starts say.
        device: Where they are trained.
    """

    def __init__(
        self, shape: Shape, starts: Sequence[Start], *, inputs: int, classes: int, seed: int, device: str = "cpu"
    ) -> None:
        self.shape = shape
        self._nets, self._device = len(starts), device
        self.rates = torch.tensor([start.lr for start in starts], device=device)
        drawn = _drawn(shape, inputs, classes, seed)
        self.parameters = {name: self._stacked(name, value, starts) for name, value in drawn.items()}
        sites = shape.blocks * shape.maps + 1
        self._means = torch.zeros(sites, self._nets * shape.width, device=device)
        self._variances = torch.ones_like(self._means)
        self._momentum = 0.1

    def outputs(self, inputs: Tensor, *, training: bool) -> Tensor:
        """Logits of shape (nets, classes, samples) for inputs of shape (samples, features)."""
        parts = {name: value.unbind(1) for name, value in self.parameters.items() if name not in ("enter", "leave")}
        h, site = torch.matmul(self.parameters["enter"], inputs.T), 0
        for block in range(self.shape.blocks):
            z = h
            for place in range(self.shape.maps):
                entry = block * self.shape.maps + place
                z = torch.bmm(parts["maps"][entry], self._activated(z, parts, entry, training=training))
                site += 1
            h = h + parts["alpha"][block] * z + parts["close"][block]
        return torch.bmm(self.parameters["leave"], self._activated(h, parts, site, training=training))

    def train(self, data: Data, *, steps: int, batch_size: int, seed: int) -> None:
        """Plain gradient descent on cross-entropy; all nets see the same batches.

        Running statistics are taken anew at the end, over some training samples at once: after a few dozen updates
        their averages would lag behind the weights, and tell more of that than of the nets.
        """
        inputs, targets = data.train_inputs.to(self._device), data.train_targets.to(self._device)
        draws, order = generator(seed, "residual stack", "order"), torch.empty(0, dtype=torch.long)
        names = list(self.parameters)
        for _ in range(steps):
            if len(order) < batch_size:
                order = torch.randperm(len(inputs), generator=draws)
            picks, order = order[:batch_size].to(self._device), order[batch_size:]
            loss = self._losses(self.outputs(inputs[picks], training=True), targets[picks]).sum()
            found = torch.autograd.grad(loss, [self.parameters[name] for name in names], allow_unused=True)
            self._step(dict(zip(names, found, strict=True)))
            if self._all_lost():
                return
        self._momentum = 1.0
        with torch.no_grad():
            self.outputs(inputs[:_STATISTICS], training=True)

    def accuracies(self, inputs: Tensor, targets: Tensor) -> list[float]:
        """Share of right answers of each net; chance for one whose logits are not finite."""
        with torch.no_grad():
            found = self.outputs(inputs.to(self._device), training=False)
        right = (found.argmax(1) == targets.to(self._device)).float().mean(1)
        finite = found.isfinite().flatten(1).all(1)
        chance = 1 / found.shape[1]
        return [float(share) if whole else chance for share, whole in zip(right, finite, strict=True)]

    def losses(self, inputs: Tensor, targets: Tensor) -> list[float]:
        """Mean cross-entropy of each net; infinite for one whose logits are not finite."""
        with torch.no_grad():
            found = self._losses(self.outputs(inputs.to(self._device), training=False), targets.to(self._device))
        return [float(loss) if math.isfinite(loss) else math.inf for loss in found]

    def _activated(self, z: Tensor, parts: dict[str, tuple[Tensor, ...]], site: int, *, training: bool) -> Tensor:
        if not self.shape.normalized:
            return F.relu(z + parts["bias"][2 * site]) + parts["bias"][2 * site + 1]
        # One row of channels for all nets: statistics are over the last dimension, the samples.
        flat = F.batch_norm(
            z.reshape(1, -1, z.shape[-1]), self._means[site], self._variances[site],
            parts["gamma"][site].reshape(-1), parts["beta"][site].reshape(-1), training=training,
            momentum=self._momentum,
        )  # fmt: skip
        return F.relu(flat).view_as(z)

    def _all_lost(self) -> bool:
        """Whether no net can come to predict anything again: a weight that is NaN stays so, and the outcome with it."""
        return bool(self.parameters["leave"].detach().isnan().flatten(1).any(1).all())

    def _losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits, targets.expand(self._nets, -1), reduction="none").mean(1)

    def _step(self, gradients: dict[str, Tensor | None]) -> None:
        with torch.no_grad():
            for name, gradient in gradients.items():
                if gradient is not None:
                    slower = self.shape.scalar_rate if name in _SCALARS else 1.0
                    rates = (-slower * self.rates).view(-1, *[1] * (gradient.ndim - 1))
                    self.parameters[name].addcmul_(gradient, rates)

    def _stacked(self, name: str, value: Tensor, starts: Sequence[Start]) -> Tensor:
        copies = [_started(name, value, start, self.shape.maps) for start in starts]
        return torch.stack(copies).to(self._device).requires_grad_()


def best_accuracies(
    shape: Shape, nets: Mapping[str, Sequence[Start]], *, data: str, steps: int, batch_size: int, seed: int, device: str
) -> dict[str, dict[str, float]]:
    """Trains several kinds of nets together, each at some rates.

    Args:
        shape: Of all.
        nets: Starts by the name of a kind.
        data: A function that returns the data; inputs are flattened.
        steps, batch_size: Of the training.
        seed: Of weights and batches.
        device: ``auto`` is a GPU if there is one.

    Returns:
        By name, the ``best_lr``, which has the lowest training loss after the last step (of several the smallest), and
        ``best_accuracy``, on the test set at this rate.
    """
    device = device_of(device)
    found: Data = resolve(data)()
    flat = Data(found.train_inputs.flatten(1), found.train_targets, found.test_inputs.flatten(1), found.test_targets)
    starts = [start for kind in nets.values() for start in kind]
    classes = int(flat.train_targets.max()) + 1
    stack = Stack(shape, starts, inputs=flat.train_inputs.shape[1], classes=classes, seed=seed, device=device)
    stack.train(flat, steps=steps, batch_size=batch_size, seed=seed)
    losses = stack.losses(flat.train_inputs, flat.train_targets)
    accuracies = stack.accuracies(flat.test_inputs, flat.test_targets)
    reached = iter(zip(losses, [start.lr for start in starts], accuracies, strict=True))
    best = {name: min(next(reached) for _ in kind) for name, kind in nets.items()}
    return {name: {"best_accuracy": accuracy, "best_lr": lr} for name, (_, lr, accuracy) in best.items()}


def _drawn(shape: Shape, inputs: int, classes: int, seed: int) -> dict[str, Tensor]:
    """He's draws, and 1/fan_in for the first map, whose inputs were not rectified."""
    width, entries = shape.width, shape.blocks * shape.maps
    sites = entries + 1
    draws = generator(seed, "residual stack", "weights")
    found = {
        "enter": torch.randn(width, inputs, generator=draws) * math.sqrt(1 / inputs),
        "maps": torch.randn(entries, width, width, generator=draws) * math.sqrt(2 / width),
        "leave": torch.randn(classes, width, generator=draws) * math.sqrt(2 / width),
        "alpha": torch.ones(shape.blocks, 1, 1),
        "close": torch.zeros(shape.blocks, 1, 1),
    }
    if shape.normalized:
        return {**found, "gamma": torch.ones(sites, width), "beta": torch.zeros(sites, width)}
    return {**found, "bias": torch.zeros(2 * sites, 1, 1)}


def _started(name: str, value: Tensor, start: Start, maps: int) -> Tensor:
    if name == "alpha":
        return value * start.multiplier
    if name == "leave":
        return value * start.read_out
    if name == "maps":
        factors = torch.full((len(value), 1, 1), start.first)
        factors[maps - 1 :: maps] = start.last
        return value * factors
    return value.clone()
