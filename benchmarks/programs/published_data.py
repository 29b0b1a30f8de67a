"""What the published programs' data are made with."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

Batches = list[tuple[Tensor, ...]]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def loader(tensors: tuple[Tensor, ...], batch_size: int, seed: int) -> Batches:
    """The batches of a DataLoader that shuffles and drops the last one."""
    n = tensors[0].shape[0]
    order = torch.randperm(n, generator=generator(seed))
    return [tuple(t[order[i : i + batch_size]] for t in tensors) for i in range(0, n - batch_size + 1, batch_size)]


def glyphs(
    n: int, classes: int, size: int, seed: int, channels: int = 1, noise: float = 0.1, shift: int = 2
) -> tuple[Tensor, Tensor]:
    """Images like hand-drawn symbols, grey values 0..1, and their classes."""
    g = generator(seed)
    coarse = torch.rand(classes, channels, 5, 5, generator=g)
    symbols = (F.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=False) > 0.55).float()
    y = torch.arange(n) % classes
    y = y[torch.randperm(n, generator=g)]
    x = symbols[y]
    shifts = torch.randint(-shift, shift + 1, (n, 2), generator=g)
    x = torch.stack([torch.roll(xi, (int(a), int(b)), (1, 2)) for xi, (a, b) in zip(x, shifts, strict=True)])
    x = x * (0.6 + 0.4 * torch.rand(n, 1, 1, 1, generator=g)) + noise * torch.randn(x.shape, generator=g)
    return x.clamp(0, 1), y


def standardized(x: Tensor) -> Tensor:
    return (x - x.mean(0)) / x.std(0)
