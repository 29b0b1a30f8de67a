"""The second moment by layer in ReLU networks at initialization, and what ReLU does to moments."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gainstage.lab.catalogue.initialization.he_variance import DRAWS, HeDesign
from gainstage.lab.judge import Row
from gainstage.seeding import generator


def measure(design: HeDesign, seed: int) -> list[Row]:
    """Networks with He's variance and the moments around one ReLU, for both draws."""
    rows = [row for draw in DRAWS for row in _network_rows(design, seed, draw, 2 / design.width)]
    return rows + [_moments_row(design, seed, draw) for draw in DRAWS]


def control(design: HeDesign, seed: int) -> list[Row]:
    """Networks with Xavier's variance 2/(n + n), normal."""
    return _network_rows(design, seed, "xavier", 1 / design.width)


def weights(draw: str, width: int, variance: float, draws: torch.Generator) -> Tensor:
    """A square matrix of the given variance: uniform on ±√(3·variance), else normal."""
    if draw == "uniform":
        return (2 * torch.rand(width, width, generator=draws) - 1) * math.sqrt(3 * variance)
    return torch.randn(width, width, generator=draws) * math.sqrt(variance)


def log_moments(design: HeDesign, draw: str, variance: float, draws: torch.Generator) -> list[float]:
    """ln q_l, q_l the mean square of layer l's preactivations for one input of one new net."""
    h, found = torch.randn(design.width, generator=draws), list[float]()
    for _ in range(design.depth):
        z = weights(draw, design.width, variance, draws) @ h
        found.append(math.log(float(z.square().mean())))
        h = z.relu()
    return found


def slope(values: list[float]) -> float:
    """Least-squares slope over equally spaced points."""
    middle = (len(values) - 1) / 2
    scale = sum((index - middle) ** 2 for index in range(len(values)))
    return sum((index - middle) * value for index, value in enumerate(values)) / scale


def _network_rows(design: HeDesign, seed: int, draw: str, variance: float) -> list[Row]:
    draws = generator(seed, "he-variance", draw)
    nets = [log_moments(design, draw, variance, draws) for _ in range(design.nets)]
    mean = [sum(values) / design.nets for values in zip(*nets, strict=True)]
    figures: Row = {
        "kind": "net",
        "draw": draw,
        "width": design.width,
        "nets": design.nets,
        "slope": slope(mean),
    }
    layers: list[Row] = [
        {"kind": "layer", "draw": draw, "layer": index + 1, "q": math.exp(value - mean[0])}
        for index, value in enumerate(mean)
    ]
    return [figures, *layers]


def _moments_row(design: HeDesign, seed: int, draw: str) -> Row:
    draws = generator(seed, "he-variance", "moments", draw)
    inputs = torch.randn(design.width, design.samples, generator=draws)
    z = weights(draw, design.width, 2 / design.width, draws) @ inputs
    h = z.relu()
    return {
        "kind": "moments", "draw": draw,
        "ratio": float(h.square().mean() / z.square().mean()),
        "variance_factor": float(h.var(correction=0) / z.var(correction=0)),
    }  # fmt: skip
