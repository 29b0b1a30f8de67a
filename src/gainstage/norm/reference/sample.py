"""Norms of each sample by itself: layer, group, instance and RMS norm."""

from __future__ import annotations

from torch import Tensor

from gainstage.norm.reference.statistics import (
    Dims,
    Gradients,
    batch_dims,
    mean,
    require_float64,
    scaled_and_shifted,
    scaled_back,
    standardized,
    standardized_backward,
)


def layer_norm(
    x: Tensor, trailing: int = 1, gamma: Tensor | None = None, beta: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Returns γ (x - μ)/√(σ² + ε) + β over the last dimensions, with γ and β of their shape.

    Args:
        x: Of any shape, float64.
        trailing: How many dimensions the statistics run over.
        gamma: γ, of the shape of those dimensions; None for 1.
        beta: β, likewise; None for 0.
        eps: ε.

    Raises:
        InputError: if a tensor is not float64.

    Example:
        >>> import torch
        >>> layer_norm(torch.tensor([[1.0, 3.0]]).double(), eps=0.0).tolist()
        [[-1.0, 1.0]]

    References:
        Ba, Kiros and Hinton 2016, Layer normalization.
    """
    require_float64("layer_norm", x=x, gamma=gamma, beta=beta)
    normalized = standardized(x, _last(trailing), eps)
    scaled = normalized if gamma is None else normalized * gamma
    return scaled if beta is None else scaled + beta


def layer_norm_backward(
    grad: Tensor, x: Tensor, trailing: int = 1, gamma: Tensor | None = None, eps: float = 1e-5
) -> Gradients:
    """Returns the gradients of x, γ and β, given that of `layer_norm`; arguments as there."""
    require_float64("layer_norm_backward", grad=grad, x=x, gamma=gamma)
    dims, samples = _last(trailing), _first(x, trailing)
    through = standardized_backward(grad if gamma is None else grad * gamma, x, dims, eps)
    return Gradients(through, _summed(grad * standardized(x, dims, eps), samples), _summed(grad, samples))


def rms_norm(x: Tensor, trailing: int = 1, gamma: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """Returns γ x/√(mean x² + ε) over the last dimensions, with γ of their shape; arguments as for `layer_norm`.

    Raises:
        InputError: if a tensor is not float64.

    Example:
        >>> import torch
        >>> rms_norm(torch.tensor([[1.0, -7.0]]).double(), eps=0.0).tolist()
        [[0.2, -1.4]]

    References:
        Zhang and Sennrich 2019, Root mean square layer normalization.
    """
    require_float64("rms_norm", x=x, gamma=gamma)
    normalized = x / (mean(x**2, _last(trailing)) + eps) ** 0.5
    return normalized if gamma is None else normalized * gamma


def rms_norm_backward(
    grad: Tensor, x: Tensor, trailing: int = 1, gamma: Tensor | None = None, eps: float = 1e-5
) -> Gradients:
    """Returns the gradients of x and γ, given that of `rms_norm`, and what a shift's would be."""
    require_float64("rms_norm_backward", grad=grad, x=x, gamma=gamma)
    dims, samples = _last(trailing), _first(x, trailing)
    inner = grad if gamma is None else grad * gamma
    inverse = (mean(x**2, dims) + eps) ** -0.5
    # ∂/∂x of the mean square is 2x/m, of its power -½ the cube by -½.
    through = inner * inverse - x * inverse**3 * mean(inner * x, dims)
    return Gradients(through, _summed(grad * x * inverse, samples), _summed(grad, samples))


def group_norm(
    x: Tensor, groups: int, gamma: Tensor | None = None, beta: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Returns γ (x - μ)/√(σ² + ε) + β over the channels of a group and all positions of a sample.

    Args:
        x: Of shape (N, C, ...), float64.
        groups: Their number; divides C.
        gamma: γ, of shape (C,); None for 1.
        beta: β, of shape (C,); None for 0.
        eps: ε.

    Raises:
        InputError: if a tensor is not float64.

    Example:
        >>> import torch
        >>> group_norm(torch.tensor([[1.0, 3.0, 5.0, 9.0]]).double(), 2, eps=0.0).tolist()
        [[-1.0, 1.0, -1.0, 1.0]]

    References:
        Wu and He 2018, Group normalization.
    """
    require_float64("group_norm", x=x, gamma=gamma, beta=beta)
    return scaled_and_shifted(standardized(_grouped(x, groups), (2,), eps).reshape(x.shape), gamma, beta)


def group_norm_backward(
    grad: Tensor, x: Tensor, groups: int, gamma: Tensor | None = None, eps: float = 1e-5
) -> Gradients:
    """Returns the gradients of x, γ and β, given that of `group_norm`; arguments as there."""
    require_float64("group_norm_backward", grad=grad, x=x, gamma=gamma)
    inner, rows, dims = _grouped(scaled_back(grad, gamma), groups), _grouped(x, groups), batch_dims(x)
    through = standardized_backward(inner, rows, (2,), eps).reshape(x.shape)
    normalized = standardized(rows, (2,), eps).reshape(x.shape)
    return Gradients(through, (grad * normalized).sum(dims), grad.sum(dims))


def instance_norm(x: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """Returns `group_norm` with a group for each channel.

    Example:
        >>> import torch
        >>> instance_norm(torch.tensor([[[1.0, 3.0], [4.0, 8.0]]]).double(), eps=0.0).tolist()
        [[[-1.0, 1.0], [-1.0, 1.0]]]

    References:
        Ulyanov, Vedaldi and Lempitsky 2016, Instance normalization.
    """
    return group_norm(x, x.shape[1], gamma, beta, eps)


def instance_norm_backward(grad: Tensor, x: Tensor, gamma: Tensor | None = None, eps: float = 1e-5) -> Gradients:
    """Returns the gradients of x, γ and β, given that of `instance_norm`."""
    return group_norm_backward(grad, x, x.shape[1], gamma, eps)


def _last(trailing: int) -> Dims:
    return tuple(range(-trailing, 0))


def _first(x: Tensor, trailing: int) -> Dims:
    return tuple(range(x.dim() - trailing))


def _summed(x: Tensor, dims: Dims) -> Tensor:
    return x.sum(dims) if dims else x


def _grouped(x: Tensor, groups: int) -> Tensor:
    return x.reshape(x.shape[0], groups, -1)
