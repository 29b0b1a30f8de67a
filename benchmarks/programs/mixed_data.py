"""What the mixed programs' data are made with."""

from __future__ import annotations

import torch
from torch import Tensor

Batches = list[tuple[Tensor, ...]]

# Which of a seven-segment display's segments each digit lights: top, upper left, upper right, middle, and so on.
SEGMENTS = (
    "1110111",
    "0010010",
    "1011101",
    "1011011",
    "0111010",
    "1101011",
    "1101111",
    "1010010",
    "1111111",
    "1111011",
)


def split(batch_size: int, *tensors: Tensor) -> Batches:
    """The tensors in batches, in order, without an incomplete last one."""
    n = len(tensors[0])
    return [tuple(t[i : i + batch_size] for t in tensors) for i in range(0, n - batch_size + 1, batch_size)]


def standardized(x: Tensor) -> Tensor:
    """Each column with mean 0 and deviation 1."""
    return (x - x.mean(0)) / x.std(0)


def standardized_whole(x: Tensor) -> Tensor:
    """All values together with mean 0 and deviation 1."""
    return (x - x.mean()) / x.std()


def pixels(size: int) -> tuple[Tensor, Tensor]:
    """The rows and the columns of an image's pixels."""
    rows, columns = torch.meshgrid(torch.arange(float(size)), torch.arange(float(size)), indexing="ij")
    return rows, columns


def shapes(n: int) -> tuple[Tensor, Tensor]:
    """Images of discs, rings, squares, bars, slashes and crosses, grey values 0..1, and their classes."""
    yy, xx = pixels(16)
    y = torch.randint(0, 6, (n,))
    out = torch.zeros(n, 1, 16, 16)
    for i in range(n):
        cx, cy = (5 + 6 * torch.rand(2)).tolist()
        r = 3 + 2 * torch.rand(1).item()
        dx, dy = xx - cx, yy - cy
        d = (dx**2 + dy**2).sqrt()
        figure = (
            d < r,
            (d - r).abs() < 1,
            (dx.abs() < r) & (dy.abs() < 1),
            (dy.abs() < r) & (dx.abs() < 1),
            ((dx - dy).abs() < 1.2) & (d < r),
            ((dx.abs() < 1) | (dy.abs() < 1)) & (d < r),
        )[int(y[i])]
        out[i, 0] = 0.75 * figure.float()
    return (out + 0.12 * torch.rand_like(out)).clamp(0, 1), y


def digits(n: int) -> tuple[Tensor, Tensor]:
    """Images of seven-segment digits, grey values 0..255, and their classes."""
    y = torch.randint(0, 10, (n,))
    x = torch.zeros(n, 1, 28, 28)
    for i in range(n):
        ox, oy = torch.randint(-3, 4, (2,)).tolist()
        left, top = 8 + ox, 5 + oy
        boxes = (
            (top, left, 2, 11),
            (top, left, 9, 2),
            (top, left + 9, 9, 2),
            (top + 8, left, 2, 11),
            (top + 8, left, 9, 2),
            (top + 8, left + 9, 9, 2),
            (top + 16, left, 2, 11),
        )
        for on, (a, b, h, w) in zip(SEGMENTS[int(y[i])], boxes, strict=True):
            if on == "1":
                x[i, 0, a : a + h, b : b + w] = 150 + 100 * torch.rand(1)
    return (x + 25 * torch.rand_like(x)).clamp(0, 255).round(), y
