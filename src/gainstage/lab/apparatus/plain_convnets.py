"""Plain convolutional networks, no skips and no norms: circular padding, so that every pixel is treated alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gainstage.schemes.haar import haar

KERNEL = 3


def gaussian_kernel(channels: int, weight_var: float, draws: torch.Generator) -> Tensor:
    """Normal taps of variance σ_w²/(9·channels), (channels, channels, 3, 3)."""
    taps = torch.randn(channels, channels, KERNEL, KERNEL, generator=draws)
    return taps * math.sqrt(weight_var / (channels * KERNEL**2))


def delta_kernel(channels: int, weight_var: float, draws: torch.Generator) -> Tensor:
    """σ_w times a random orthogonal matrix at the centre tap, zero at all others."""
    kernel = torch.zeros(channels, channels, KERNEL, KERNEL)
    kernel[:, :, KERNEL // 2, KERNEL // 2] = haar(1, channels, channels, math.sqrt(weight_var), draws)[0]
    return kernel


KERNELS: Mapping[str, Callable[[int, float, torch.Generator], Tensor]] = {
    "delta": delta_kernel,
    "gaussian": gaussian_kernel,
}


def circular(pictures: Tensor, kernel: Tensor) -> Tensor:
    """The convolution of pictures (batch, channels, height, width) that go on at their other side."""
    reach = KERNEL // 2
    return F.conv2d(F.pad(pictures, (reach,) * 4, mode="circular"), kernel)


def circular_transposed(gradient: Tensor, kernel: Tensor) -> Tensor:
    """The gradient of `circular` with respect to its input."""
    return circular(gradient, kernel.transpose(0, 1).flip(-1, -2))


def plain_cnn(
    depth: int,
    channels: int,
    draw: str,
    weight_var: float,
    bias_var: float,
    *,
    inputs: int = 1,
    size: int = 8,
    classes: int = 10,
) -> nn.Sequential:
    """``depth`` square tanh convolutions behind a first one; all pixels are read out.

    Args:
        depth, channels: Of the square convolutions.
        draw: One of `KERNELS`, for these; the first is normal.
        weight_var, bias_var: σ_w² and σ_b².
        inputs, size: Channels of a picture, and its height and width.
        classes: Outputs.
    """
    # Seeded by torch's own generator, which a sweep seeds.
    draws = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
    layers = [nn.Conv2d(inputs, channels, KERNEL, padding=1, padding_mode="circular"), nn.Tanh()]
    for _ in range(depth):
        square = nn.Conv2d(channels, channels, KERNEL, padding=1, padding_mode="circular")
        with torch.no_grad():
            square.weight.copy_(KERNELS[draw](channels, weight_var, draws))
            square.bias.copy_(math.sqrt(bias_var) * torch.randn(channels, generator=draws))  # pyright: ignore[reportOptionalMemberAccess]
        layers += [square, nn.Tanh()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * size**2, classes))
