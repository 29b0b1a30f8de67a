"""Convolutional networks for pictures of 32×32: a VGG, and the ResNet of CIFAR-10.

Weights are drawn as torch's layers draw theirs, and with the same seed they are the same for every norm; a sweep's
``init`` and ``scale`` set them anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import nn

from gainstage.errors import InputError, UnknownNameError
from gainstage.lab.apparatus.networks import NORMS

# By the number of channels. Layer norm is taken over channels and positions, as convolutional networks have it.
# Root-mean-square norm is left out: torch's runs over the last dimension, which is a picture's width here.
PICTURE_NORMS: Mapping[str, Callable[[int], nn.Module]] = {
    **{name: made for name, made in NORMS.items() if name != "rms"},
    "batch": nn.BatchNorm2d,
    "layer": lambda channels: nn.GroupNorm(1, channels),
}

# Multiples of the first width; 0 halves the picture.
_VGG = (1, 1, 0, 2, 2, 0, 4, 4, 0, 8, 8, 0, 8, 8, 0)


def vgg(norm: str = "batch", classes: int = 10, width: int = 64) -> nn.Sequential:
    """Ten 3×3 convolutions, each with the norm and ReLU after it, five halvings of the picture, a linear read-out.

    Args:
        norm: One of `PICTURE_NORMS`, or ``none``.
        classes: Features of the read-out.
        width: Channels of the first convolution; the last ones have eight times as many.

    Raises:
        UnknownNameError: if the norm is not known.

    Example:
        >>> vgg("none", width=4)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    found, channels = list[nn.Module](), 3
    for factor in _VGG:
        if factor:
            found += [nn.Conv2d(channels, factor * width, 3, padding=1), *_norm(norm, factor * width), nn.ReLU()]
            channels = factor * width
        else:
            found.append(nn.MaxPool2d(2))
    return nn.Sequential(*found, nn.Flatten(), nn.Linear(channels, classes))


class ConvBlock(nn.Module):
    """ReLU(s(x) + N(conv(ReLU(N(conv(x)))))), with a shortcut s that has no parameters.

    Where the block halves the picture, s takes every second position and fills the new channels with zeros (He et
    al.'s option A).

    Args:
        fan_in, channels: Of the input and the output.
        stride: Of the first convolution.
        norm: As `vgg` has it.
    """

    def __init__(self, fan_in: int, channels: int, stride: int, norm: str) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(fan_in, channels, 3, stride, 1, bias=False), *_norm(norm, channels), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False), *_norm(norm, channels),
        )  # fmt: skip
        self.stride, self.new_channels = stride, channels - fan_in

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The shortcut with the branch added, rectified."""
        kept = x[..., :: self.stride, :: self.stride]
        return F.relu(F.pad(kept, (0, 0, 0, 0, 0, self.new_channels)) + self.branch(x))


def resnet(depth: int = 110, norm: str = "batch", classes: int = 10, width: int = 16) -> nn.Sequential:
    """He et al.'s ResNet for CIFAR-10: a convolution, three stages of n blocks, average pooling, a linear read-out.

    Without a norm nothing takes its place: the convolutions have no biases either way, as in the original.

    Args:
        depth: 6n + 2 layers with weights: 8, 14, 20, ..., 110.
        norm: As `vgg` has it.
        classes: Features of the read-out.
        width: Channels of the first stage; doubled at each of the two halvings.

    Raises:
        InputError: if the depth is not 6n + 2.
        UnknownNameError: if the norm is not known.

    Example:
        >>> resnet(8, width=4)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])

    References:
        He et al. 2016, Deep residual learning for image recognition, section 4.2.
    """
    blocks, rest = divmod(depth - 2, 6)
    if blocks < 1 or rest:
        raise InputError(f"resnet: depth must be 6n + 2 with n ≥ 1, got {depth}. Use 8, 20, 56 or 110.")
    found = [nn.Conv2d(3, width, 3, padding=1, bias=False), *_norm(norm, width), nn.ReLU()]
    channels = width
    for stage in (1, 2, 4):
        for index in range(blocks):
            stride = 2 if stage > 1 and index == 0 else 1
            found.append(ConvBlock(channels, stage * width, stride, norm))
            channels = stage * width
    return nn.Sequential(*found, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def _norm(name: str, channels: int) -> list[nn.Module]:
    if name != "none" and name not in PICTURE_NORMS:
        raise UnknownNameError("lab convnets", "norm", name, ("none", *PICTURE_NORMS))
    return [] if name == "none" else [PICTURE_NORMS[name](channels)]
