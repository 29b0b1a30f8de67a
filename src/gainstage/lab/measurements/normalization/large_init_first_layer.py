"""The first gradient of each layer over the scale of the weights, by where batch norm stands. In float64."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from gainstage.lab.apparatus.data import digits
from gainstage.lab.catalogue.normalization.large_init_first_layer import ACTIVATIONS, NAMES, FirstLayerDesign
from gainstage.lab.judge import Row
from gainstage.seeding import generator

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {"sigmoid": torch.sigmoid, "relu": torch.relu}


def measure(design: FirstLayerDesign, seed: int) -> list[Row]:
    """All weights scaled, for each activation and each place of the norms."""
    return [row for activation in ACTIVATIONS for row in _scan(design, seed, activation, tuple(NAMES), all_layers=True)]


def control(design: FirstLayerDesign, seed: int) -> list[Row]:
    """The first layer's weights alone scaled, with batch norm behind it only."""
    return [row for activation in ACTIVATIONS for row in _scan(design, seed, activation, ("first",), all_layers=False)]


def drawn(design: FirstLayerDesign, seed: int, activation: str) -> tuple[list[Tensor], Tensor, Tensor]:
    """Weights of all layers with the read-out, and a batch: Glorot's variance for sigmoid, He's for ReLU."""
    draws = generator(seed, "large-init-first-layer")
    data = digits()
    chosen = torch.randperm(data.samples, generator=draws)[: design.batch]
    inputs, targets = data.train_inputs[chosen].double(), data.train_targets[chosen]
    sizes = [inputs.shape[1], *[design.width] * design.depth, 10]
    weights = [
        torch.randn(fan_out, fan_in, generator=draws, dtype=torch.float64)
        * math.sqrt(2 / fan_in if activation == "relu" else 2 / (fan_in + fan_out))
        for fan_in, fan_out in itertools.pairwise(sizes)
    ]
    return weights, inputs, targets


def gradients(weights: list[Tensor], inputs: Tensor, targets: Tensor, activation: str, norms: str) -> list[Tensor]:
    """Of the mean cross-entropy, one for each weight.

    Args:
        weights: Of the hidden layers and the read-out, without biases.
        inputs, targets: A batch.
        activation: Of each hidden layer.
        norms: ``every``, ``first`` or ``none``: the hidden layers with batch norm before the activation.
    """
    leaves = [weight.clone().requires_grad_() for weight in weights]
    h = inputs
    for index, leaf in enumerate(leaves[:-1]):
        z = h @ leaf.T
        if norms == "every" or (norms == "first" and index == 0):
            z = F.batch_norm(z, None, None, training=True)
        h = FUNCTIONS[activation](z)
    return list(torch.autograd.grad(F.cross_entropy(h @ leaves[-1].T, targets), leaves))


def _scan(
    design: FirstLayerDesign, seed: int, activation: str, places: Sequence[str], *, all_layers: bool
) -> Iterator[Row]:
    weights, inputs, targets = drawn(design, seed, activation)
    for norms in places:
        for scale in design.scales:
            scaled = [scale * weight if all_layers or weight is weights[0] else weight for weight in weights]
            norm_of = [float(found.norm()) for found in gradients(scaled, inputs, targets, activation, norms)]
            yield _row(activation, norms, scale, norm_of[0], norm_of[design.depth - 1])


def _row(activation: str, norms: str, scale: float, first: float, last: float) -> Row:
    # All units saturated to the last bit: nothing is left of the gradient, and it has no logarithm.
    sound = math.isfinite(first) and first > 0
    return {
        "activation": activation, "norms": norms, "scale": scale,
        "gradient": first if math.isfinite(first) else None,
        "log_gradient": math.log10(first) if sound else None,
        "log_through": math.log10(first / last) if sound and math.isfinite(last) and last > 0 else None,
    }  # fmt: skip
