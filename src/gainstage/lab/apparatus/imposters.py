"""What stands where a norm stood and does not normalize: for controls."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


class Affine(nn.Module):
    """γx + β by channel: the trained part of a batch norm, without the normalization.

    Args:
        channels: In dimension 1.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The scaled and shifted input."""
        shape = (1, -1, *[1] * (x.dim() - 2))
        return x * self.weight.view(shape) + self.bias.view(shape)


def in_place_of_batch_norms_(model: nn.Module, made: Callable[[int], nn.Module]) -> None:
    """Puts another layer in the place of each batch norm.

    Args:
        model: Changed.
        made: From the number of channels.
    """
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
                setattr(parent, name, made(child.num_features))
