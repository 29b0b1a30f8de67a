"""The squared gradient by layer in deep networks at initialization."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gainstage.lab.apparatus.devices import device_of
from gainstage.lab.catalogue.depth.bn_gradient_explosion import ExplosionDesign
from gainstage.lab.judge import Row
from gainstage.seeding import generator

# Beside a variance of 1 or more of each unit: not felt.
_EPS = 1e-12


@dataclass(frozen=True)
class Net:
    """One kind of network.

    Attributes:
        batch: Samples.
        rectified: ReLU, with He's weights; otherwise linear, with Var W = 1/n.
        normalized: Whether a batch norm stands before the activation.
        skips: Whether a layer's input is added to what it gives.
        scale: Multiplies the weights.
    """

    batch: int
    rectified: bool = True
    normalized: bool = True
    skips: bool = False
    scale: float = 1.0


def measure(design: ExplosionDesign, seed: int) -> list[Row]:
    """Nets with batch norm: ReLU and linear; beside them ones with skips, and with weights of another scale."""
    nets = {
        "relu": Net(design.batch),
        "linear small": Net(design.small, rectified=False),
        "linear large": Net(design.large, rectified=False),
        "skips": Net(design.batch, skips=True),
        "relu scaled": Net(design.batch, scale=design.scale),
        "none scaled": Net(design.batch, normalized=False, scale=design.scale),
    }
    return [row for name, net in nets.items() for row in net_rows(design, seed, name, net)]


def control(design: ExplosionDesign, seed: int) -> list[Row]:
    """The net with ReLU without a norm."""
    return net_rows(design, seed, "none", Net(design.batch, normalized=False))


def net_rows(design: ExplosionDesign, seed: int, name: str, net: Net) -> list[Row]:
    """The growth a layer of one net, and its gradients by layer."""
    logs = log_gradients(design, seed, net)
    layers: list[Row] = [
        {"kind": "layer", "net": name, "layer": index + 1, "square": math.exp(value - logs[-1])}
        for index, value in enumerate(logs)
    ]
    inner = logs[design.margin : len(logs) - design.margin]
    return [{"kind": "net", "net": name, "factor": math.exp(-_slope(inner))}, *layers]


def log_gradients(design: ExplosionDesign, seed: int, net: Net) -> list[float]:
    """ln ‖∂L/∂h_l‖² for the outputs h_l of each layer, L a random linear function of the last.

    As many batches go through a net as have the samples of ``design.batch``; their logarithms are averaged.
    """
    draws, device = generator(seed, "bn-gradient-explosion", repr(net)), device_of(design.device)
    batches = max(1, design.batch // net.batch)
    h = torch.randn(batches, net.batch, design.width, generator=draws).to(device)
    hidden: list[Tensor] = []
    for _ in range(design.depth):
        weight = torch.randn(design.width, design.width, generator=draws).to(device)
        h = _layer(h, weight, net).requires_grad_()
        hidden.append(h)
    pulled = torch.randn(h.shape, generator=draws).to(device)
    with torch.enable_grad():
        gradients = torch.autograd.grad((h * pulled).sum(), hidden)
    # In float64, for squares of what grows with depth are soon beyond float32.
    return [float(gradient.double().square().sum((1, 2)).log().mean()) for gradient in gradients]


def _layer(h: Tensor, weight: Tensor, net: Net) -> Tensor:
    variance = (2.0 if net.rectified else 1.0) / len(weight)
    z = h @ (weight * (net.scale * math.sqrt(variance))).T
    if net.normalized:
        z = (z - z.mean(1, keepdim=True)) / (z.var(1, correction=0, keepdim=True) + _EPS).sqrt()
    out = z.relu() if net.rectified else z
    return h + out if net.skips else out


def _slope(values: list[float]) -> float:
    middle = (len(values) - 1) / 2
    scale = sum((index - middle) ** 2 for index in range(len(values)))
    return sum((index - middle) * value for index, value in enumerate(values)) / scale
