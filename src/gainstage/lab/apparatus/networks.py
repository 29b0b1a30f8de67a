"""The networks that claims are measured on: perceptrons, residual ones, deep linear ones.

Weights are drawn as torch's layers draw theirs; a sweep's ``init`` and ``scale`` set them anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import nn

from gainstage.errors import UnknownNameError
from gainstage.norm import layers

ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "linear": nn.Identity,
}
# By the number of features; group norm has eight features in a group, as 32 groups of 256 channels have.
NORMS: Mapping[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm1d,
    "layer": nn.LayerNorm,
    "group": lambda width: nn.GroupNorm(max(1, width // 8), width),
    "rms": nn.RMSNorm,
    # Its statistics are 0 and 1: what the learnt scale and shift of a norm do by themselves.
    "frozen": layers.FrozenBatchNorm,
    "noisy": layers.NoisyBatchNorm,
    # Ten times the noise that the paper adds.
    "loud": partial(layers.NoisyBatchNorm, noise=layers.ShiftingNoise(5.0, 3.5, 1.0, 1.0)),
    "l1": partial(layers.LpBatchNorm, p=1),
    "l2": partial(layers.LpBatchNorm, p=2),
    "linf": partial(layers.LpBatchNorm, p=float("inf")),
}


def mlp(
    depth: int = 8,
    width: int = 64,
    activation: str = "relu",
    norm: str = "none",
    *,
    placement: str = "before",
    inputs: int = 64,
    classes: int = 10,
) -> nn.Sequential:
    """A perceptron: ``depth`` hidden layers and a linear read-out.

    Args:
        depth: Hidden layers.
        width: Of each.
        activation: One of `ACTIVATIONS`.
        norm: One of `NORMS`, after each hidden layer, or ``none``.
        placement: Of the norm, ``before`` or ``after`` the activation.
        inputs, classes: Features of the first and the last layer.

    Raises:
        UnknownNameError: if an activation, norm or placement is not known.
    """
    _known("placement", placement, ("before", "after"))
    found: list[nn.Module] = []
    for fan_in in [inputs] + [width] * (depth - 1):
        found.append(nn.Linear(fan_in, width))
        nonlinear, normed = _activation(activation), _norm(norm, width)
        found += [*normed, nonlinear] if placement == "before" else [nonlinear, *normed]
    return nn.Sequential(*found, nn.Linear(width if depth else inputs, classes))


class ResidualBlock(nn.Module):
    """x + α·W₂φ(N(W₁φ(N(x)))): the norm, the activation, the map, twice, as in preactivation ResNets.

    Args:
        width: Of the stream.
        activation, norm: As `mlp` has them.
        branch_scale: α, a constant factor of the branch.
        maps: How many maps a branch has.
    """

    def __init__(self, width: int, activation: str, norm: str, branch_scale: float, maps: int) -> None:
        super().__init__()
        parts = [[*_norm(norm, width), _activation(activation), nn.Linear(width, width)] for _ in range(maps)]
        self.branch = nn.Sequential(*(layer for part in parts for layer in part))
        self.branch_scale = branch_scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The stream with the branch added."""
        return x + self.branch_scale * self.branch(x)


def residual_mlp(
    blocks: int = 20,
    width: int = 64,
    activation: str = "relu",
    norm: str = "none",
    *,
    branch_scale: float = 1.0,
    maps: int = 2,
    inputs: int = 64,
    classes: int = 10,
) -> nn.Sequential:
    """A residual perceptron: a map into the stream, ``blocks`` of `ResidualBlock`, norm, activation, read-out.

    Args:
        blocks: Residual blocks.
        width: Of the stream.
        activation, norm: As `mlp` has them.
        branch_scale: A constant factor of every branch.
        maps: Linear maps of a branch.
        inputs, classes: Features of the first and the last layer.

    Raises:
        UnknownNameError: if an activation or norm is not known.
    """
    body = [ResidualBlock(width, activation, norm, branch_scale, maps) for _ in range(blocks)]
    return nn.Sequential(
        nn.Linear(inputs, width), *body, *_norm(norm, width), _activation(activation), nn.Linear(width, classes)
    )


def _activation(name: str) -> nn.Module:
    _known("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]()


def _norm(name: str, width: int) -> list[nn.Module]:
    _known("norm", name, ("none", *NORMS))
    return [] if name == "none" else [NORMS[name](width)]


def _known(what: str, name: str, names: Mapping[str, object] | tuple[str, ...]) -> None:
    if name not in names:
        raise UnknownNameError("lab networks", what, name, names)
