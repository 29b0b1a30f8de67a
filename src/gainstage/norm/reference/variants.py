"""Relatives of batch normalization: virtual batches, renormalization, p-norms, centring and scaling alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gainstage.norm.reference.batch import batch_norm, batch_norm_backward
from gainstage.norm.reference.statistics import (
    Dims,
    Gradients,
    batch_dims,
    count,
    mean,
    require_float64,
    scaled_and_shifted,
    scaled_back,
    standardized,
    standardized_backward,
)


def ghost_batch_norm(
    x: Tensor, parts: int, gamma: Tensor | None = None, beta: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Returns `batch_norm` of each of so many virtual batches by itself; the first ones are larger by a sample at most.

    References:
        Hoffer, Hubara and Soudry 2017, Train longer, generalize better, algorithm 1.
    """
    return torch.cat([batch_norm(part, gamma, beta, eps) for part in x.tensor_split(parts)])


def ghost_batch_norm_backward(
    grad: Tensor, x: Tensor, parts: int, gamma: Tensor | None = None, eps: float = 1e-5
) -> Gradients:
    """Returns the gradients of x, γ and β, given that of `ghost_batch_norm`."""
    pairs = zip(grad.tensor_split(parts), x.tensor_split(parts), strict=True)
    found = [batch_norm_backward(one, part, gamma, eps) for one, part in pairs]
    return Gradients(torch.cat([g.x for g in found]), sum_of([g.gamma for g in found]), sum_of([g.beta for g in found]))


def sum_of(tensors: list[Tensor]) -> Tensor:
    """The sum of tensors of one shape."""
    return torch.stack(tensors).sum(0)


def renorm_correction(
    x: Tensor, running_mean: Tensor, running_var: Tensor, r_max: float, d_max: float, eps: float = 1e-5
) -> tuple[Tensor, Tensor]:
    """Returns r = clip(σ_B/σ, 1/r_max, r_max) and d = clip((μ_B - μ)/σ, -d_max, d_max) by channel, ε within each σ.

    References:
        Ioffe 2017, Batch renormalization, algorithm 1.
    """
    require_float64("renorm_correction", x=x, running_mean=running_mean, running_var=running_var)
    dims = batch_dims(x)
    batch_mean = mean(x, dims)
    batch_std = (mean((x - batch_mean) ** 2, dims) + eps).flatten() ** 0.5
    std = (running_var + eps) ** 0.5
    r = (batch_std / std).clamp(1 / r_max, r_max)
    return r, ((batch_mean.flatten() - running_mean) / std).clamp(-d_max, d_max)


def batch_renorm(
    x: Tensor, r: Tensor, d: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Returns γ (x̂ r + d) + β, x̂ standardized by the batch's statistics."""
    require_float64("batch_renorm", x=x, r=r, d=d, gamma=gamma, beta=beta)
    return scaled_and_shifted(scaled_and_shifted(standardized(x, batch_dims(x), eps), r, d), gamma, beta)


def batch_renorm_backward(
    grad: Tensor, x: Tensor, r: Tensor, d: Tensor, gamma: Tensor | None = None, eps: float = 1e-5
) -> Gradients:
    """Returns the gradients of x, γ and β, given that of `batch_renorm`; r and d count as constants."""
    require_float64("batch_renorm_backward", grad=grad, x=x, r=r, d=d, gamma=gamma)
    dims = batch_dims(x)
    through = standardized_backward(scaled_back(scaled_back(grad, gamma), r), x, dims, eps)
    return Gradients(through, (grad * batch_renorm(x, r, d, eps=eps)).sum(dims), grad.sum(dims))


def batch_p_norm(x: Tensor, p: float, dims: Dims) -> Tensor:
    """(mean |x|^p)^(1/p) over some dimensions, the largest |x| for p = ∞; dimensions kept."""
    return x.abs().amax(dims, keepdim=True) if math.isinf(p) else mean(x.abs() ** p, dims) ** (1 / p)


def lp_batch_norm(
    x: Tensor,
    p: float,
    constant: float,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    eps: float = 1e-5,
    *,
    centred_norm: bool = False,
) -> Tensor:
    """Returns γ (x - μ)/(s + ε) + β by channel, s the p-norm of x, or of x - μ where centred, by a constant.

    References:
        Santurkar et al. 2018, How does batch normalization help optimization?, section 3.3.
    """
    require_float64("lp_batch_norm", x=x, gamma=gamma, beta=beta)
    dims = batch_dims(x)
    centred = x - mean(x, dims)
    divisor = batch_p_norm(centred if centred_norm else x, p, dims) / constant + eps
    return scaled_and_shifted(centred / divisor, gamma, beta)


def lp_batch_norm_backward(
    grad: Tensor,
    x: Tensor,
    p: float,
    constant: float,
    gamma: Tensor | None = None,
    eps: float = 1e-5,
    *,
    centred_norm: bool = False,
) -> Gradients:
    """Returns the gradients of x, γ and β, given that of `lp_batch_norm`."""
    require_float64("lp_batch_norm_backward", grad=grad, x=x, gamma=gamma)
    dims, inner = batch_dims(x), scaled_back(grad, gamma)
    centred = x - mean(x, dims)
    measured = centred if centred_norm else x
    norm = batch_p_norm(measured, p, dims)
    divisor = norm / constant + eps
    if math.isinf(p):
        largest = (measured.abs() == norm).double()
        slope = measured.sign() * largest / largest.sum(dims, keepdim=True)
    else:
        slope = measured.sign() * measured.abs() ** (p - 1) * norm ** (1 - p) / count(x, dims)
    slope = slope - mean(slope, dims) if centred_norm else slope
    grad_divisor = -(inner * centred).sum(dims, keepdim=True) / divisor**2
    through = (inner - mean(inner, dims)) / divisor + grad_divisor * slope / constant
    return Gradients(through, (grad * centred / divisor).sum(dims), grad.sum(dims))


def mean_only_batch_norm(x: Tensor, beta: Tensor | None = None) -> Tensor:
    """Returns x - μ + β by channel.

    References:
        Salimans and Kingma 2016, Weight normalization, section 4.
    """
    require_float64("mean_only_batch_norm", x=x, beta=beta)
    return scaled_and_shifted(x - mean(x, batch_dims(x)), None, beta)


def mean_only_batch_norm_backward(grad: Tensor, x: Tensor) -> Gradients:
    """Returns the gradients of x and β, given that of `mean_only_batch_norm`, and what a scale's would be."""
    require_float64("mean_only_batch_norm_backward", grad=grad, x=x)
    dims = batch_dims(x)
    return Gradients(grad - mean(grad, dims), (grad * mean_only_batch_norm(x)).sum(dims), grad.sum(dims))


def scale_only_batch_norm(
    x: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Returns γ x/√(σ² + ε) + β by channel, σ² the biased variance about the mean, which stays in x."""
    require_float64("scale_only_batch_norm", x=x, gamma=gamma, beta=beta)
    dims = batch_dims(x)
    return scaled_and_shifted(x / (mean((x - mean(x, dims)) ** 2, dims) + eps) ** 0.5, gamma, beta)


def scale_only_batch_norm_backward(
    grad: Tensor, x: Tensor, gamma: Tensor | None = None, eps: float = 1e-5
) -> Gradients:
    """Returns the gradients of x, γ and β, given that of `scale_only_batch_norm`."""
    require_float64("scale_only_batch_norm_backward", grad=grad, x=x, gamma=gamma)
    dims, inner = batch_dims(x), scaled_back(grad, gamma)
    centred = x - mean(x, dims)
    inverse = (mean(centred**2, dims) + eps) ** -0.5
    through = inner * inverse - centred * inverse**3 * mean(inner * x, dims)
    return Gradients(through, (grad * x * inverse).sum(dims), grad.sum(dims))
