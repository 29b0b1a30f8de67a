"""What several architectures are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class Residual(nn.Module):
    """x + scale · branch(x), where the branch may change the shape if there is a shortcut."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module | None = None, scale: float = 1.0) -> None:
        super().__init__()
        self.branch, self.shortcut, self.scale = branch, shortcut or nn.Identity(), scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branch = self.branch(x)
        return self.shortcut(x) + (branch if self.scale == 1.0 else self.scale * branch)


class Turned(nn.Module):
    """The last two dimensions exchanged."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(-1, -2)


class Recurrent(nn.Module):
    """A recurrent layer over a stem's sequence, read out at every step or at the last."""

    def __init__(self, stem: nn.Module, cell: nn.RNNBase, outputs: int, *, last: bool = True) -> None:
        super().__init__()
        self.stem, self.cell, self.head, self.last = stem, cell, nn.Linear(cell.hidden_size, outputs), last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states, _ = self.cell(self.stem(x))
        return self.head(states[:, -1] if self.last else states)


class Attended(nn.Module):
    """A stem's tokens with places, an encoder, and a read-out of the mean or of the last token."""

    def __init__(self, stem: nn.Module, places: int, encoder: nn.Module, width: int, outputs: int, *, last: bool):
        super().__init__()
        self.stem, self.places = stem, nn.Parameter(torch.randn(places, width) * 0.02)
        self.encoder, self.norm, self.head, self.last = encoder, nn.LayerNorm(width), nn.Linear(width, outputs), last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.encoder(self.stem(x) + self.places))
        return self.head(x[:, -1] if self.last else x.mean(1))


class SelfAttention(nn.Module):
    """Two heads, written out."""

    def __init__(self, width: int, heads: int = 2) -> None:
        super().__init__()
        self.norm, self.heads = nn.LayerNorm(width), heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, length, width = x.shape
        query, key, value = self.qkv(self.norm(x)).view(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.out(mixed.transpose(1, 2).reshape(n, length, width))


def attention_block(width: int) -> nn.Module:
    feed = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
    return nn.Sequential(Residual(SelfAttention(width)), Residual(feed))


def initialized(model: nn.Module, change: Callable[[Any], Any]) -> nn.Module:
    """The model with ``change`` applied to the weight of each linear layer and convolution, and biases of zero."""
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            change(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model
