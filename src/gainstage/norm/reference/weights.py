"""Weights that are normalized by output unit, one unit after the other."""

from __future__ import annotations

import torch
from torch import Tensor

from gainstage.norm.reference.statistics import mean, require_float64, standardized_backward


def unit_indices(shape: torch.Size, groups: int = 1, *, transposed: bool = False) -> list[tuple[slice | int, ...]]:
    """Returns where in the weight each output unit's own entries stand.

    Args:
        shape: (out, in/groups, ...), or (in, out/groups, ...) of a transposed convolution.
        groups: Of the convolution.
        transposed: Whether it is a transposed one.

    Example:
        >>> unit_indices(torch.Size([4, 1, 3]), 2, transposed=True)
        [(slice(0, 2, None), 0), (slice(2, 4, None), 0)]
    """
    if not transposed:
        return [(unit,) for unit in range(shape[0])]
    rows = shape[0] // groups
    return [(slice(group * rows, (group + 1) * rows), unit) for group in range(groups) for unit in range(shape[1])]


def weight_norm(v: Tensor, g: Tensor, groups: int = 1, *, transposed: bool = False) -> Tensor:
    """Returns W = g V/‖V‖ by output unit.

    Args:
        v: The direction V, of the weight's shape, float64.
        g: The length of each unit's weights, of shape (out,).
        groups: As `unit_indices`; transposed likewise.
        transposed: Whether it is of a transposed convolution.

    References:
        Salimans and Kingma 2016, Weight normalization, equation 2.
    """
    require_float64("weight_norm", v=v, g=g)
    weight = torch.empty_like(v)
    for unit, where in enumerate(unit_indices(v.shape, groups, transposed=transposed)):
        weight[where] = g[unit] * v[where] / (v[where] ** 2).sum() ** 0.5
    return weight


def weight_norm_backward(
    grad: Tensor, v: Tensor, g: Tensor, groups: int = 1, *, transposed: bool = False
) -> tuple[Tensor, Tensor]:
    """Returns the gradients of V and g, given that of W.

    References:
        Salimans and Kingma 2016, equation 3.
    """
    require_float64("weight_norm_backward", grad=grad, v=v, g=g)
    grad_v, grad_g = torch.empty_like(v), torch.empty_like(g)
    for unit, where in enumerate(unit_indices(v.shape, groups, transposed=transposed)):
        length = (v[where] ** 2).sum() ** 0.5
        grad_g[unit] = (grad[where] * v[where]).sum() / length
        grad_v[where] = g[unit] / length * grad[where] - g[unit] * grad_g[unit] / length**2 * v[where]
    return grad_v, grad_g


def weight_standardization(w: Tensor, eps: float = 1e-5, groups: int = 1, *, transposed: bool = False) -> Tensor:
    """Returns (W - μ)/√(σ² + ε) by output unit, with the biased variance.

    References:
        Qiao et al. 2019, Micro-batch training with batch-channel normalization and weight standardization.
    """
    require_float64("weight_standardization", w=w)
    weight = torch.empty_like(w)
    for where in unit_indices(w.shape, groups, transposed=transposed):
        centred = w[where] - w[where].mean()
        weight[where] = centred / ((centred**2).mean() + eps) ** 0.5
    return weight


def weight_standardization_backward(
    grad: Tensor, w: Tensor, eps: float = 1e-5, groups: int = 1, *, transposed: bool = False
) -> Tensor:
    """Returns the gradient of W, given that of `weight_standardization`."""
    require_float64("weight_standardization_backward", grad=grad, w=w)
    through = torch.empty_like(w)
    for where in unit_indices(w.shape, groups, transposed=transposed):
        one, own = grad[where], w[where]
        through[where] = standardized_backward(one, own, tuple(range(own.dim())), eps)
    return through


def scaled_weight_standardization(
    w: Tensor,
    gamma: Tensor,
    gain: float,
    fan_in: float,
    eps: float = 1e-4,
    groups: int = 1,
    *,
    transposed: bool = False,
) -> Tensor:
    """Returns γ gain (W - μ)/√max(σ² fan_in, ε) by output unit: γ gain (W - μ)/(σ √fan_in) where σ² fan_in ≥ ε.

    References:
        Brock, De and Smith 2021, Characterizing signal propagation in unnormalized ResNets.
    """
    require_float64("scaled_weight_standardization", w=w, gamma=gamma)
    weight = torch.empty_like(w)
    for unit, where in enumerate(unit_indices(w.shape, groups, transposed=transposed)):
        centred = w[where] - w[where].mean()
        weight[where] = gamma[unit] * gain * centred / ((centred**2).mean() * fan_in).clamp(min=eps) ** 0.5
    return weight


def scaled_weight_standardization_backward(
    grad: Tensor,
    w: Tensor,
    gamma: Tensor,
    gain: float,
    fan_in: float,
    eps: float = 1e-4,
    groups: int = 1,
    *,
    transposed: bool = False,
) -> tuple[Tensor, Tensor]:
    """Returns the gradients of W and γ, given that of `scaled_weight_standardization`."""
    require_float64("scaled_weight_standardization_backward", grad=grad, w=w, gamma=gamma)
    through, grad_gamma = torch.empty_like(w), torch.empty_like(gamma)
    for unit, where in enumerate(unit_indices(w.shape, groups, transposed=transposed)):
        one, own = grad[where], w[where]
        dims = tuple(range(own.dim()))
        centred = own - own.mean()
        square = float((centred**2).mean() * fan_in)
        divisor = max(square, eps) ** 0.5
        grad_gamma[unit] = gain * (one * centred).sum() / divisor
        # Below ε the divisor is a constant, and only the mean is taken away.
        inner = one * gamma[unit] * gain
        varies = standardized_backward(inner, own, dims, 0.0) / fan_in**0.5 if square > eps else None
        through[where] = (inner - mean(inner, dims)) / divisor if varies is None else varies
    return through, grad_gamma
