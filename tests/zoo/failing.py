"""A backward pass that fails."""

from __future__ import annotations

from typing import Any

import torch


class Raise(torch.autograd.Function):
    """The identity, whose backward pass fails."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, error: type[BaseException]) -> torch.Tensor:
        ctx.error = error
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *_grads: torch.Tensor) -> Any:
        raise ctx.error("as planned")
