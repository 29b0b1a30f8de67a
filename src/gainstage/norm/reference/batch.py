"""Batch normalization by its definition: statistics of the batch, running averages, inference."""

from __future__ import annotations

from torch import Tensor

from gainstage.errors import InputError
from gainstage.norm.reference.statistics import (
    Gradients,
    batch_dims,
    count,
    mean,
    per_channel,
    require_float64,
    scaled_and_shifted,
    scaled_back,
    standardized,
    standardized_backward,
)


def batch_norm(x: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """Returns γ (x - μ)/√(σ² + ε) + β, with each channel's mean and biased variance over samples and positions.

    Args:
        x: Of shape (N, C, ...), float64.
        gamma: γ, of shape (C,); None for 1.
        beta: β, of shape (C,); None for 0.
        eps: ε.

    Returns:
        A tensor of x's shape.

    Raises:
        InputError: if a tensor is not float64.

    Example:
        >>> import torch
        >>> batch_norm(torch.tensor([[1.0], [3.0]]).double(), eps=0.0).tolist()
        [[-1.0], [1.0]]

    References:
        Ioffe and Szegedy 2015, Batch normalization, algorithm 1.
    """
    require_float64("batch_norm", x=x, gamma=gamma, beta=beta)
    return scaled_and_shifted(standardized(x, batch_dims(x), eps), gamma, beta)


def batch_norm_backward(grad: Tensor, x: Tensor, gamma: Tensor | None = None, eps: float = 1e-5) -> Gradients:
    """Returns the gradients of x, γ and β, given that of `batch_norm`.

    Args:
        grad: Of the output, of x's shape.
        x: As handed to `batch_norm`; gamma and eps likewise.
        gamma: γ.
        eps: ε.

    Returns:
        The gradients, through the statistics.

    Raises:
        InputError: if a tensor is not float64.

    Example:
        >>> import torch
        >>> x, grad = torch.randn(2, 8, 3, 5).double()
        >>> round(abs(float(batch_norm_backward(grad, x).x.sum())), 12)
        0.0

    References:
        Ioffe and Szegedy 2015, section 3.
    """
    require_float64("batch_norm_backward", grad=grad, x=x, gamma=gamma)
    dims = batch_dims(x)
    through = standardized_backward(scaled_back(grad, gamma), x, dims, eps)
    return Gradients(through, (grad * standardized(x, dims, eps)).sum(dims), grad.sum(dims))


def batch_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns what running averages take in: each channel's mean, and its unbiased variance Σ(x - μ)²/(m - 1).

    Args:
        x: Of shape (N, C, ...), float64, with m = N·positions ≥ 2.

    Returns:
        Two tensors of shape (C,).

    Raises:
        InputError: if x is not float64, or has fewer than two values for each channel.

    Example:
        >>> import torch
        >>> [v.tolist() for v in batch_statistics(torch.tensor([[1.0], [3.0]]).double())]
        [[2.0], [2.0]]
    """
    require_float64("batch_statistics", x=x)
    dims = batch_dims(x)
    values = count(x, dims)
    if values < 2:
        raise InputError(
            f"batch_statistics: x must have two or more values for each channel, got shape {tuple(x.shape)}. "
            "Use a larger batch."
        )
    var = ((x - mean(x, dims)) ** 2).sum(dims) / (values - 1)
    return mean(x, dims).flatten(), var


def running_average(running: Tensor, measured: Tensor, momentum: float | None, updates: int) -> Tensor:
    """Returns a running statistic after one more batch.

    Args:
        running: Before.
        measured: Of the batch, of the same shape.
        momentum: The batch's share, as torch counts it; None: the plain mean of all batches.
        updates: The number of batches, this one included.

    Returns:
        (1 - momentum) running + momentum measured, with 1/updates for a momentum of None.

    Example:
        >>> import torch
        >>> running_average(torch.zeros(1), torch.ones(1), None, 4).item()
        0.25
    """
    share = 1 / updates if momentum is None else momentum
    return (1 - share) * running + share * measured


def batch_norm_inference(
    x: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Returns γ (x - μ)/√(σ² + ε) + β with given statistics: batch norm in eval mode, and with frozen statistics.

    Args:
        x: Of shape (N, C, ...), float64.
        running_mean: μ, of shape (C,).
        running_var: σ², of shape (C,).
        gamma: γ, of shape (C,); None for 1.
        beta: β, of shape (C,); None for 0.
        eps: ε.

    Returns:
        A tensor of x's shape.

    Raises:
        InputError: if a tensor is not float64.

    Example:
        >>> import torch
        >>> x, two, nine = (torch.full((1, 1), v).double() for v in (5, 2, 9))
        >>> batch_norm_inference(x, two[0], nine[0], eps=0.0).item()
        1.0
    """
    require_float64("batch_norm_inference", x=x, running_mean=running_mean, running_var=running_var, gamma=gamma)
    normalized = (x - per_channel(running_mean, x)) / (per_channel(running_var, x) + eps) ** 0.5
    return scaled_and_shifted(normalized, gamma, beta)


def batch_norm_inference_backward(
    grad: Tensor,
    x: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    gamma: Tensor | None = None,
    eps: float = 1e-5,
) -> Gradients:
    """Returns the gradients of x, γ and β, given that of `batch_norm_inference`: nothing runs through statistics.

    Args:
        grad: Of the output, of x's shape.
        x: As handed to `batch_norm_inference`; the others likewise.
        running_mean: μ.
        running_var: σ².
        gamma: γ.
        eps: ε.

    Raises:
        InputError: if a tensor is not float64.

    Example:
        >>> import torch
        >>> x = torch.ones(1, 1).double()
        >>> batch_norm_inference_backward(x, x, x[0] * 0, x[0] * 4, eps=0.0).x.item()
        0.5
    """
    require_float64("batch_norm_inference_backward", grad=grad, x=x, gamma=gamma)
    normalized = batch_norm_inference(x, running_mean, running_var, eps=eps)
    through = scaled_back(grad, gamma) / (per_channel(running_var, x) + eps) ** 0.5
    return Gradients(through, (grad * normalized).sum(batch_dims(x)), grad.sum(batch_dims(x)))
