"""The largest eigenvalue of the Fisher information over width, with norms in several places."""

from __future__ import annotations

import math

import torch
from torch import nn

from gainstage.lab.apparatus.devices import device_of
from gainstage.lab.catalogue.depth.fisher_conditioning import FisherDesign
from gainstage.lab.judge import Row, number
from gainstage.landscape import curvature
from gainstage.seeding import generator, preserved_rng


def measure(design: FisherDesign, seed: int) -> list[Row]:
    """ReLU nets of each kind at each width; all of a width have the same weights and inputs."""
    return [row for net in ("none", "last", "middle", "layer") for row in _rows(design, seed, net, net, tanh=False)]


def control(design: FisherDesign, seed: int) -> list[Row]:
    """Tanh nets without a norm and with one in the last layer."""
    return [row for place in ("none", "last") for row in _rows(design, seed, f"tanh {place}", place, tanh=True)]


def network(width: int, place: str, design: FisherDesign, seed: int, *, tanh: bool) -> nn.Sequential:
    """A perceptron; He's weights, or 1/n with tanh.

    Args:
        width: Of inputs and hidden layers.
        place: Of the norm: ``none``, ``last``, ``middle``, or ``layer`` for a layer norm at the end.
        design: Hidden layers and outputs.
        seed: Of the weights.
        tanh: Instead of ReLU.
    """
    parts: list[nn.Module] = []
    for _ in range(design.hidden):
        normed = [nn.BatchNorm1d(width, affine=False)] if place == "middle" else []
        parts += [nn.Linear(width, width), *normed, nn.Tanh() if tanh else nn.ReLU()]
    parts.append(nn.Linear(width, design.classes))
    if place == "last":
        parts.append(nn.BatchNorm1d(design.classes, affine=False))
    elif place == "layer":
        parts.append(nn.LayerNorm(design.classes, elementwise_affine=False))
    draws = generator(seed, "fisher-conditioning", str(width))
    for layer in parts:
        if isinstance(layer, nn.Linear):
            with torch.no_grad():
                weight = torch.randn(layer.weight.shape, generator=draws)
                layer.weight.copy_(weight * math.sqrt((1 if tanh else 2) / width))
                layer.bias.zero_()
    return nn.Sequential(*parts)


def sharpness(model: nn.Module, inputs: torch.Tensor, design: FisherDesign) -> float | None:
    """λ_max of the Fisher information of squared error; None if the iteration did not come within the accuracy."""
    batch = (inputs, torch.zeros(len(inputs), design.classes, device=inputs.device))
    found = curvature(model, batch, nn.functional.mse_loss, operator="fisher", norms="train", tolerance=design.accuracy)
    return found.sharpness if found.converged else None


def _rows(design: FisherDesign, seed: int, name: str, place: str, *, tanh: bool) -> list[Row]:
    device = device_of(design.device)
    rows: list[Row] = []
    for width in design.widths:
        with preserved_rng():
            model = network(width, place, design, seed, tanh=tanh).to(device)
        inputs = torch.randn(width, width, generator=generator(seed, "inputs", str(width))).to(device)
        rows.append({"kind": "width", "net": name, "width": width, "sharpness": sharpness(model, inputs, design)})
    return [{"kind": "net", "net": name, "exponent": _exponent(rows)}, *rows]


def _exponent(rows: list[Row]) -> float | None:
    """Least-squares slope of ln λ over ln M."""
    values = [row["sharpness"] for row in rows]
    if None in values:
        return None
    x = [math.log(number(row["width"])) for row in rows]
    y = [math.log(number(value)) for value in values]
    middle = sum(x) / len(x)
    return sum((a - middle) * b for a, b in zip(x, y, strict=True)) / sum((a - middle) ** 2 for a in x)
