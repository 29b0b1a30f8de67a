"""What all references share: standardizing over some dimensions, by the definition, and its backward pass."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gainstage.errors import InputError

Dims = tuple[int, ...]


class Gradients(NamedTuple):
    """Gradients of a loss: of the input, of the scale and of the shift."""

    x: Tensor
    gamma: Tensor
    beta: Tensor


def require_float64(operation: str, **tensors: Tensor | None) -> None:
    """Refuses tensors of any other type: a reference is only as good as its arithmetic.

    Raises:
        InputError: names the first tensor that is not float64.

    Example:
        >>> require_float64("batch_norm", x=torch.zeros(2))
        Traceback (most recent call last):
            ...
        gainstage.errors.InputError: batch_norm: x must be float64, got torch.float32. Pass x.double().
    """
    for name, tensor in tensors.items():
        if tensor is not None and tensor.dtype != torch.float64:
            raise InputError(f"{operation}: {name} must be float64, got {tensor.dtype}. Pass {name}.double().")


def batch_dims(x: Tensor) -> Dims:
    """All dimensions but the channels', which are in dimension 1."""
    return (0, *range(2, x.dim()))


def per_channel(values: Tensor, x: Tensor) -> Tensor:
    """One value for each channel, shaped to be broadcast over x."""
    return values.reshape(1, -1, *[1] * (x.dim() - 2))


def mean(x: Tensor, dims: Dims) -> Tensor:
    """The sum over some dimensions by the number of values, with those dimensions kept."""
    return x.sum(dims, keepdim=True) / count(x, dims)


def count(x: Tensor, dims: Dims) -> int:
    """How many values there are along some dimensions."""
    return torch.Size([x.shape[dim] for dim in dims]).numel()


def standardized(x: Tensor, dims: Dims, eps: float) -> Tensor:
    """(x - μ)/√(σ² + ε), with the mean and the biased variance over some dimensions."""
    centred = x - mean(x, dims)
    return centred / (mean(centred**2, dims) + eps) ** 0.5


def standardized_backward(grad: Tensor, x: Tensor, dims: Dims, eps: float) -> Tensor:
    """The gradient of x, given that of `standardized`, by the chain rule through both statistics.

    References:
        Ioffe and Szegedy 2015, section 3.
    """
    centred = x - mean(x, dims)
    inverse = (mean(centred**2, dims) + eps) ** -0.5
    grad_var = (grad * centred).sum(dims, keepdim=True) * -0.5 * inverse**3
    grad_mean = -(grad * inverse).sum(dims, keepdim=True) - grad_var * 2 * mean(centred, dims)
    return grad * inverse + grad_var * 2 * centred / count(x, dims) + grad_mean / count(x, dims)


def scaled_and_shifted(normalized: Tensor, gamma: Tensor | None, beta: Tensor | None) -> Tensor:
    """γ x̂ + β by channel, with γ = 1 and β = 0 for those that are None."""
    scaled = normalized if gamma is None else normalized * per_channel(gamma, normalized)
    return scaled if beta is None else scaled + per_channel(beta, normalized)


def scaled_back(grad: Tensor, gamma: Tensor | None) -> Tensor:
    """The gradient of x̂, given that of γ x̂ + β."""
    return grad if gamma is None else grad * per_channel(gamma, grad)
