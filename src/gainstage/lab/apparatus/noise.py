"""Noise in networks: of batch norm over small groups, and on activations."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from gainstage.sweep import Data


class GroupedBatchNorm(nn.Module):
    """Batch norm whose statistics are those of consecutive groups of the batch: the noise of a small batch in a large.

    What `gainstage.norm.layers.GhostBatchNorm` computes, in one call for all groups. Evaluation uses
    statistics that `settle` takes over a whole training set.

    Args:
        features: Number of channels.
        size: Samples of a group, a divisor of the batch; 0: the whole batch is one.
    """

    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(self, features: int, size: int) -> None:
        super().__init__()
        self.size, self.eps, self.settling = size, 1e-5, False
        self.weight, self.bias = nn.Parameter(torch.ones(features)), nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Each group of a batch by itself in training, the settled statistics in evaluation."""
        if self.settling or not self.training:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, self.settling, 1.0, self.eps
            )
        groups = x.shape[0] // self.size if self.size else 1
        # Groups become channels, which one call normalizes each by itself.
        parts = x.view(groups, -1, *x.shape[1:]).transpose(0, 1).flatten(1, 2)
        normed = F.batch_norm(parts, None, None, None, None, True, 0.0, self.eps)
        normed = normed.unflatten(1, (groups, -1)).transpose(0, 1).reshape(x.shape)
        shape = (1, -1, *[1] * (x.dim() - 2))
        return torch.addcmul(self.bias.view(shape), normed, self.weight.view(shape))


class ActivationNoise(nn.Module):
    """x·(1 + s·ε) in training, with a new standard normal ε for each number; x in evaluation.

    Args:
        level: s. Dropout that drops p of the units has the same variance at s = √(p/(1 - p)).
    """

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = level

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """With noise in training mode."""
        return x * (1 + self.level * torch.randn_like(x)) if self.training and self.level else x


class FrozenFactors(nn.Module):
    """x·(1 + s·ε) with one ε for each unit, drawn at the first call and kept, in training and in evaluation.

    Args:
        level: s.
        draws: Where ε comes from.
    """

    def __init__(self, level: float, draws: torch.Generator) -> None:
        super().__init__()
        self.level, self.draws = level, draws
        self.factors: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Each unit with its own factor."""
        if self.factors is None:
            drawn = torch.randn(1, x.shape[1], *[1] * (x.dim() - 2), generator=self.draws)
            self.factors = (1 + self.level * drawn).to(x.device)
        return x * self.factors


def grouped(model: nn.Sequential, size: int) -> nn.Sequential:
    """The network with `GroupedBatchNorm` in place of each batch norm.

    Args:
        model: With batch norms that were not trained yet; its other layers are used, not copied.
        size: Of the groups.
    """
    layers = [
        GroupedBatchNorm(layer.num_features, size) if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) else layer
        for layer in model
    ]
    return nn.Sequential(*layers)


@torch.no_grad()
def settle(model: nn.Module, data: Data) -> None:
    """Sets the statistics of each `GroupedBatchNorm` to those of the whole training set."""
    norms = [layer for layer in model.modules() if isinstance(layer, GroupedBatchNorm)]
    for norm in norms:
        norm.settling = True
    model(data.train_inputs)
    for norm in norms:
        norm.settling = False


def noisy(model: nn.Sequential, level: float, frozen: torch.Generator | None = None) -> nn.Sequential:
    """The network with noise after each ReLU.

    Args:
        model: Its layers are used, not copied.
        level: Of `ActivationNoise`.
        frozen: If given, `FrozenFactors` drawn from it take the place of the noise.
    """
    layers = list[nn.Module]()
    for layer in model:
        layers.append(layer)
        if isinstance(layer, nn.ReLU):
            layers.append(ActivationNoise(level) if frozen is None else FrozenFactors(level, frozen))
    return nn.Sequential(*layers)
