"""Perceptrons whose hidden layers are drawn by a rule: Xavier's, He's, or given variances of mean-field theory.

Normal weights from torch's generator, which a sweep seeds. The read-out is drawn by the same rule in all: 1/fan_in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import nn

from gainstage.errors import UnknownNameError
from gainstage.lab.apparatus.networks import mlp, residual_mlp

# Var W from fan_in and fan_out.
RULES: Mapping[str, Callable[[int, int], float]] = {
    "xavier": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "he": lambda fan_in, _: 2 / fan_in,
}


def ruled_mlp(
    depth: int = 8,
    width: int = 64,
    activation: str = "tanh",
    rule: str = "xavier",
    *,
    inputs: int = 64,
    classes: int = 10,
) -> nn.Sequential:
    """A perceptron whose hidden weights have the variance of a rule, with zero biases.

    Args:
        depth, width, activation, inputs, classes: As `mlp` has them.
        rule: One of `RULES`.

    Raises:
        UnknownNameError: if the rule is not known.
    """
    if rule not in RULES:
        raise UnknownNameError("lab networks", "rule", rule, RULES)
    return _redrawn(mlp(depth, width, activation, inputs=inputs, classes=classes), RULES[rule], 0.0)


def mean_field_mlp(
    depth: int = 8,
    width: int = 64,
    bias_var: float = 0.0,
    *,
    skips: bool = False,
    inputs: int = 64,
    classes: int = 10,
) -> nn.Sequential:
    """A tanh perceptron with W ~ N(0, 1/fan_in) and b ~ N(0, σ_b²).

    A sweep's ``scale`` makes it σ_w: cells that differ in it train together, those of other networks would not.

    Args:
        depth, width, inputs, classes: As `mlp` has them.
        bias_var: σ_b².
        skips: Whether each layer is a branch, x + W tanh(x)/√depth, beside a skip.
    """
    if skips:
        scale = 1 / math.sqrt(depth)
        model = residual_mlp(depth, width, "tanh", branch_scale=scale, maps=1, inputs=inputs, classes=classes)
    else:
        model = mlp(depth, width, "tanh", inputs=inputs, classes=classes)
    return _redrawn(model, lambda fan_in, _: 1 / fan_in, bias_var)


def _redrawn(model: nn.Sequential, variance: Callable[[int, int], float], bias_var: float) -> nn.Sequential:
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for layer in layers[:-1]:
            layer.weight.normal_(0, math.sqrt(variance(layer.in_features, layer.out_features)))
            layer.bias.normal_(0, math.sqrt(bias_var))
        layers[-1].weight.normal_(0, 1 / math.sqrt(layers[-1].in_features))
        layers[-1].bias.zero_()
    return model
