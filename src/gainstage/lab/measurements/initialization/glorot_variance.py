"""Mean squares of signals and gradients by layer under Xavier's rule, and where its conditions do not hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from gainstage.lab.apparatus.propagation import drawn, gradients, log_squares, preactivations
from gainstage.lab.catalogue.initialization.glorot_variance import DRAWS, GlorotDesign
from gainstage.lab.judge import Row
from gainstage.lab.measurements.initialization.he_variance import slope
from gainstage.seeding import generator


@dataclass(frozen=True)
class Case:
    """One kind of network: its name in the rows, the widths of input and layers, how its weights are drawn."""

    name: str
    widths: Sequence[int]
    draw: str = "normal"
    activation: str = "tanh"
    input_rms: float = 1.0
    variance: Callable[[int, int], float] = lambda fan_in, fan_out: 2 / (fan_in + fan_out)


def measure(design: GlorotDesign, seed: int) -> list[Row]:
    """The linear regime for both draws; then larger inputs, unequal fans, sigmoid."""
    n, depth = design.width, design.depth
    square, half = (n,) * (depth + 1), tuple(n if layer % 2 == 0 else n // 2 for layer in range(depth + 1))
    cases = [Case("near-linear", square, draw=draw, input_rms=design.input_rms) for draw in DRAWS]
    cases += [
        Case("unit-inputs", square),
        Case("alternating", half, input_rms=design.input_rms),
        Case("sigmoid", (n,) * (design.sigmoid_depth + 1), activation="sigmoid"),
    ]
    return [row for case in cases for row in _rows(case, design, seed)]


def control(design: GlorotDesign, seed: int) -> list[Row]:
    """The rule that Glorot and Bengio compare theirs with, U(±1/√n_in)."""
    square = (design.width,) * (design.depth + 1)
    case = Case("old-rule", square, "uniform", input_rms=design.input_rms, variance=lambda fan_in, _: 1 / (3 * fan_in))
    return _rows(case, design, seed)


def levels(case: Case, seed: int, net: int) -> dict[str, list[float]]:
    """ln mean squares of one new network: of the signal, of half the distance of two inputs, of the gradient."""
    labels = ("glorot-variance", case.name, case.draw, str(net))
    depth, draws = len(case.widths) - 1, generator(seed, *labels, "ends")
    weight = drawn(case.widths, case.variance, case.draw, seed, *labels)
    inputs = case.input_rms * torch.randn(case.widths[0], 2, generator=draws).double()
    top = torch.randn(case.widths[-1], generator=draws).double()
    both = preactivations(weight, depth, inputs, case.activation)
    first = [z[:, 0] for z in both]
    distances = [(z[:, 0] - z[:, 1]) / math.sqrt(2) for z in both]
    back = gradients(weight, first, top, case.activation)
    return {"forward": log_squares(first), "distance": log_squares(distances), "backward": log_squares(back)}


def _rows(case: Case, design: GlorotDesign, seed: int) -> list[Row]:
    nets, rows = [levels(case, seed, net) for net in range(design.nets)], list[Row]()
    for direction in nets[0]:
        mean = [sum(values) / design.nets for values in zip(*(net[direction] for net in nets), strict=True)]
        told: Row = {"case": case.name, "draw": case.draw, "direction": direction}
        rows.append({"kind": "slope", **told, "slope": slope(mean)})
        rows += [
            {"kind": "layer", **told, "layer": _layer(direction, step, len(mean)), "level": math.exp(value - mean[0])}
            for step, value in enumerate(mean)
        ]
    return rows


def _layer(direction: str, step: int, depth: int) -> int:
    return depth - step if direction == "backward" else step + 1
