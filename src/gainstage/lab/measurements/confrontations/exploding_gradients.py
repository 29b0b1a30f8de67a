"""The squared gradient by layer, of perceptrons at initialization."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gainstage.lab.apparatus.networks import mlp
from gainstage.lab.apparatus.stepping import initialized
from gainstage.lab.catalogue.confrontations.exploding_gradients import ExplosionDesign
from gainstage.lab.judge import Row
from gainstage.lab.measurements.initialization.he_variance import slope
from gainstage.seeding import generator


def measure(design: ExplosionDesign, seed: int) -> list[Row]:
    """Slopes and curves for both norms and each scale, of the same draws."""
    return [row for norm in ("none", "batch") for scale in design.scales for row in _network(design, seed, norm, scale)]


def squared_gradients(design: ExplosionDesign, seed: int, norm: str, scale: float) -> list[float]:
    """‖∂L/∂h‖² of the output of each hidden layer's map, from the input on; L = Σ outputs · noise."""
    width = design.width
    model = mlp(design.depth, width, "relu", norm, inputs=width, classes=width).double()
    initialized(model, seed, scale=scale)
    draws = generator(seed, "exploding-gradients")
    x = torch.randn(design.batch, width, generator=draws, dtype=torch.float64)
    seen: list[Tensor] = []
    for layer in model:
        x = layer(x)
        if isinstance(layer, nn.Linear):
            seen.append(x)
    loss = (x * torch.randn(x.shape, generator=draws, dtype=x.dtype)).sum()
    return [float(gradient.square().sum()) for gradient in torch.autograd.grad(loss, seen[:-1])]


def _network(design: ExplosionDesign, seed: int, norm: str, scale: float) -> list[Row]:
    found = squared_gradients(design, seed, norm, scale)
    # Towards the input: the slope over the layers is negative where the gradient grows backwards.
    inner = [math.log(value) for value in found[design.skipped : -design.skipped]]
    layers: list[Row] = [
        {"kind": "layer", "norm": norm, "scale": scale, "layer": number + 1, "gradient": value / found[-1]}
        for number, value in enumerate(found)
    ]
    return [{"kind": "net", "norm": norm, "scale": scale, "slope": -slope(inner)}, *layers]
