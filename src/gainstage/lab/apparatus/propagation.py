"""One input carried up a network at initialization, and one gradient carried down, layer by layer in float64.

No weight is kept: on the way down a layer's matrix is drawn again from its own generator, so that depth costs no
memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from gainstage.seeding import generator

Weights = Callable[[int], Tensor]
Elementwise = Callable[[Tensor], Tensor]

# φ and φ′, both of the preactivation.
FUNCTIONS: Mapping[str, tuple[Elementwise, Elementwise]] = {
    "linear": (lambda z: z, torch.ones_like),
    "relu": (torch.relu, lambda z: (z > 0).to(z.dtype)),
    "tanh": (torch.tanh, lambda z: 1 - torch.tanh(z) ** 2),
    "sigmoid": (torch.sigmoid, lambda z: torch.sigmoid(z) * torch.sigmoid(-z)),
}


def drawn(widths: Sequence[int], variance: Callable[[int, int], float], draw: str, seed: int, *labels: str) -> Weights:
    """Matrices by the number of their layer, from 0; the same number gives the same matrix.

    Args:
        widths: Of the input and of each layer.
        variance: Var W from fan_in and fan_out.
        draw: ``normal`` or ``uniform``.
        seed, labels: Of the generators; each layer's number is added to the labels.
    """

    def weight(layer: int) -> Tensor:
        fan_in, fan_out = widths[layer], widths[layer + 1]
        draws, std = generator(seed, *labels, str(layer)), math.sqrt(variance(fan_in, fan_out))
        if draw == "uniform":
            return (2 * torch.rand(fan_out, fan_in, generator=draws).double() - 1) * (math.sqrt(3) * std)
        return torch.randn(fan_out, fan_in, generator=draws).double() * std

    return weight


def preactivations(weight: Weights, depth: int, inputs: Tensor, activation: str) -> list[Tensor]:
    """z_l = W_l φ(z_{l-1}) of each layer, z₁ = W₁x; a column of ``inputs`` is an input."""
    function, found = FUNCTIONS[activation][0], list[Tensor]()
    h = inputs
    for layer in range(depth):
        found.append(weight(layer) @ h)
        h = function(found[-1])
    return found


def gradients(weight: Weights, before: Sequence[Tensor], top: Tensor, activation: str) -> list[Tensor]:
    """∂/∂z_l of each layer, from the last layer, where it is ``top``, down to the first."""
    derivative, found = FUNCTIONS[activation][1], [top]
    for layer in range(len(before) - 1, 0, -1):
        found.append(derivative(before[layer - 1]) * (weight(layer).T @ found[-1]))
    return found


def log_squares(values: Sequence[Tensor]) -> list[float]:
    """ln of the mean square of each."""
    return [math.log(float(value.square().mean())) for value in values]
