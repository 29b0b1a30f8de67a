"""Perceptrons trained from Xavier's and from He's weights, and their signals at initialization."""

from __future__ import annotations

import math

import torch

from gainstage.lab.apparatus.devices import device_of
from gainstage.lab.apparatus.drawn_networks import RULES, ruled_mlp
from gainstage.lab.apparatus.propagation import drawn, gradients, log_squares, preactivations
from gainstage.lab.apparatus.training import final_rows
from gainstage.lab.catalogue.initialization.he_with_tanh import TanhDesign
from gainstage.lab.judge import Row, number
from gainstage.seeding import generator
from gainstage.sweep import Spec


def measure(design: TanhDesign, seed: int) -> list[Row]:
    """tanh networks of every depth, and how their signals start."""
    initial = [_initial(design, seed, rule, depth) for depth in design.depths for rule in RULES]
    return [*_trained(design, seed, "tanh", design.depths), *initial]


def control(design: TanhDesign, seed: int) -> list[Row]:
    """ReLU networks of the largest depth."""
    return _trained(design, seed, "relu", design.depths[-1:])


def _trained(design: TanhDesign, seed: int, activation: str, depths: tuple[int, ...]) -> list[Row]:
    """The best test accuracy over the rates, by depth and rule."""
    device = device_of(design.device)
    spec = Spec(
        name="he-with-tanh", model=ruled_mlp, data=design.data,
        axes={"depth": depths, "rule": tuple(RULES), "lr": design.rates},
        fixed={
            "width": design.width, "inputs": design.inputs, "activation": activation, "seed": seed,
            "batch_size": design.batch_size,
        },
        steps=design.steps, measure=(design.steps,), metrics=("test_accuracy",), device=device,
    )  # fmt: skip
    best: dict[tuple[int, str], tuple[float, float]] = {}
    for row in final_rows(spec, keep=("depth", "rule", "lr")):
        case = (int(number(row["depth"])), str(row["rule"]))
        best[case] = max(best.get(case, (-1.0, 0.0)), (number(row["test_accuracy"]), number(row["lr"])))
    return [
        {
            "kind": "trained", "activation": activation, "depth": depth, "rule": rule, "accuracy": accuracy, "lr": lr,
        }
        for (depth, rule), (accuracy, lr) in best.items()
    ]  # fmt: skip


def _initial(design: TanhDesign, seed: int, rule: str, depth: int) -> Row:
    """log₁₀ of the change of the signal's mean square upwards and of the gradient's downwards, inputs of rms 1."""
    labels = ("he-with-tanh", rule, str(depth))
    weight = drawn((design.width,) * (depth + 1), RULES[rule], "normal", seed, *labels)
    inputs, top = torch.randn(2, design.width, generator=generator(seed, *labels, "ends")).double()
    before = preactivations(weight, depth, inputs, "tanh")
    up, down = log_squares(before), log_squares(gradients(weight, before, top, "tanh"))
    return {
        "kind": "initial", "activation": "tanh", "depth": depth, "rule": rule,
        "signal": (up[-1] - up[0]) / math.log(10), "gradient": (down[-1] - down[0]) / math.log(10),
    }  # fmt: skip
