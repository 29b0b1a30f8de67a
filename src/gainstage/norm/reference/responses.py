"""Filter response normalization with its thresholded unit, and EvoNorm-S0."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gainstage.norm.reference.statistics import (
    batch_dims,
    mean,
    per_channel,
    require_float64,
    scaled_and_shifted,
    scaled_back,
)


class ResponseGradients(NamedTuple):
    """Gradients of the input, the scale, the shift, and the layer's own parameter (ε or v)."""

    x: Tensor
    gamma: Tensor
    beta: Tensor
    own: Tensor


def filter_response_norm(x: Tensor, gamma: Tensor, beta: Tensor, eps: Tensor) -> Tensor:
    """Returns γ x/√(ν² + |ε|) + β, with ν² the mean of x² over the positions of one sample and channel.

    Args:
        x: Of shape (N, C, ...), float64.
        gamma: γ, of shape (C,); β and ε likewise.
        beta: β.
        eps: ε.

    References:
        Singh and Krishnan 2020, Filter response normalization layer.
    """
    require_float64("filter_response_norm", x=x, gamma=gamma, beta=beta, eps=eps)
    return scaled_and_shifted(x * _inverse(x, eps), gamma, beta)


def filter_response_norm_backward(grad: Tensor, x: Tensor, gamma: Tensor, eps: Tensor) -> ResponseGradients:
    """Returns the gradients of x, γ, β and ε, given that of `filter_response_norm`."""
    require_float64("filter_response_norm_backward", grad=grad, x=x, gamma=gamma, eps=eps)
    dims, inner, inverse = batch_dims(x), scaled_back(grad, gamma), _inverse(x, eps)
    positions = tuple(range(2, x.dim()))
    through = inner * inverse - x * inverse**3 * (mean(inner * x, positions) if positions else inner * x)
    own = (inner * x * inverse**3).sum(dims) * -0.5 * eps.sign()
    return ResponseGradients(through, (grad * x * inverse).sum(dims), grad.sum(dims), own)


def thresholded(y: Tensor, tau: Tensor) -> Tensor:
    """Returns max(y, τ), with τ by channel."""
    return torch.maximum(y, per_channel(tau, y))


def thresholded_backward(grad: Tensor, y: Tensor, tau: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the gradients of y and of τ, given that of `thresholded`; to y where they are equal."""
    passes = y >= per_channel(tau, y)
    return grad * passes, (grad * ~passes).sum(batch_dims(y))


def evonorm_s0(x: Tensor, groups: int, v: Tensor, gamma: Tensor, beta: Tensor, eps: float = 1e-5) -> Tensor:
    """Returns γ x sigmoid(v x)/√(σ² + ε) + β, with the biased variance over a group's channels and all positions.

    Args:
        x: Of shape (N, C, ...), float64.
        groups: Their number; divides C.
        v: Of shape (C,); γ and β likewise.
        gamma: γ.
        beta: β.
        eps: ε.

    References:
        Liu, Brock, Simonyan and Le 2020, Evolving normalization-activation layers.
    """
    require_float64("evonorm_s0", x=x, v=v, gamma=gamma, beta=beta)
    gated = x * torch.sigmoid(per_channel(v, x) * x)
    return scaled_and_shifted(gated / (_group_var(x, groups) + eps) ** 0.5, gamma, beta)


def evonorm_s0_backward(
    grad: Tensor, x: Tensor, groups: int, v: Tensor, gamma: Tensor, eps: float = 1e-5
) -> ResponseGradients:
    """Returns the gradients of x, γ, β and v, given that of `evonorm_s0`."""
    require_float64("evonorm_s0_backward", grad=grad, x=x, v=v, gamma=gamma)
    dims, inner = batch_dims(x), scaled_back(grad, gamma)
    gate = torch.sigmoid(per_channel(v, x) * x)
    inverse = (_group_var(x, groups) + eps) ** -0.5
    rows = x.reshape(x.shape[0], groups, -1)
    centred = (rows - mean(rows, (2,))).reshape(x.shape)
    # ∂σ²/∂x is 2 (x - μ)/m, and σ² enters as the power -½.
    pulled = mean((inner * x * gate).reshape(rows.shape), (2,)).expand_as(rows).reshape(x.shape)
    through = inner * inverse * (gate + per_channel(v, x) * x * gate * (1 - gate)) - pulled * inverse**3 * centred
    own = (inner * inverse * x**2 * gate * (1 - gate)).sum(dims)
    return ResponseGradients(through, (grad * x * gate * inverse).sum(dims), grad.sum(dims), own)


def _inverse(x: Tensor, eps: Tensor) -> Tensor:
    positions = tuple(range(2, x.dim()))
    return ((mean(x**2, positions) if positions else x**2) + per_channel(eps.abs(), x)) ** -0.5


def _group_var(x: Tensor, groups: int) -> Tensor:
    rows = x.reshape(x.shape[0], groups, -1)
    var = mean((rows - mean(rows, (2,))) ** 2, (2,))
    return var.expand_as(rows).reshape(x.shape)
