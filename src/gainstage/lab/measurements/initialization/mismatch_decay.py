"""The second moment by layer in ReLU networks whose variance is not He's."""

from __future__ import annotations

import math

import torch

from gainstage.lab.apparatus.propagation import drawn, log_squares, preactivations
from gainstage.lab.catalogue.initialization.mismatch_decay import MismatchDesign
from gainstage.lab.judge import Row
from gainstage.lab.measurements.initialization.he_variance import slope
from gainstage.seeding import generator


def measure(design: MismatchDesign, seed: int) -> list[Row]:
    """Xavier's variance, then He's times c² for each scale c."""
    rows = _rows(design, seed, "xavier", 1.0)
    return rows + [row for scale in design.scales for row in _rows(design, seed, "he", scale)]


def control(design: MismatchDesign, seed: int) -> list[Row]:
    """He's variance."""
    return _rows(design, seed, "he", 1.0)


def log_moments(design: MismatchDesign, variance: float, seed: int, *labels: str) -> list[float]:
    """ln q_l of one input of one new net with normal weights."""
    widths = (design.width,) * (design.depth + 1)
    weight = drawn(widths, lambda *_: variance, "normal", seed, *labels)
    inputs = torch.randn(design.width, generator=generator(seed, *labels, "input")).double()
    return log_squares(preactivations(weight, design.depth, inputs, "relu"))


def _rows(design: MismatchDesign, seed: int, case: str, scale: float) -> list[Row]:
    n = design.width
    variance = scale**2 * (2 / (n + n) if case == "xavier" else 2 / n)
    # Labelled by the scale too: with the same draws every scale would show the same scatter.
    labels = ("mismatch-decay", case, str(scale))
    nets = [log_moments(design, variance, seed, *labels, str(net)) for net in range(design.nets)]
    mean = [sum(values) / design.nets for values in zip(*nets, strict=True)]
    told: Row = {"case": case, "scale": scale}
    layers: list[Row] = [
        {"kind": "layer", **told, "layer": index + 1, "q": math.exp(value - mean[0])}
        for index, value in enumerate(mean)
    ]
    return [{"kind": "slope", **told, "slope": slope(mean), "last": mean[-1] - mean[0]}, *layers]
