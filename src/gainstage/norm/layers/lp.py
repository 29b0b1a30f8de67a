"""Batch normalization by the mean p-norm in place of the standard deviation."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from gainstage.errors import InputError
from gainstage.norm.layers.inputs import batch_dims, by_channel, values_by_channel
from gainstage.norm.layers.measured import MeasuredNorm, Statistics
from gainstage.numerics import FloatArray, adaptive_integral


@functools.lru_cache(maxsize=256)
def normal_p_norm(p: float, count: int) -> float:
    """Returns c_p: the mean p-norm of standard normal values, by which `LpBatchNorm` keeps their variance.

    c_p = (E |z|^p)^(1/p) = √2 (Γ((p + 1)/2)/√π)^(1/p): √(2/π) for p = 1, and 1 for p = 2. For p = ∞ it is the
    expected maximum of as many |z| as there are, ∫ 1 - erf(t/√2)^count dt over t > 0.

    Args:
        p: At least 1; ``math.inf`` for the maximum.
        count: Number of values; matters to p = ∞ only.

    Returns:
        The constant.

    Raises:
        InputError: if p is below 1 or count below 1.

    Example:
        >>> [round(normal_p_norm(p, 1000), 4) for p in (1, 2, math.inf)]
        [0.7979, 1.0, 3.4354]
    """
    if not p >= 1 or count < 1:
        raise InputError(
            f"normal_p_norm: p and count must be at least 1, got {p!r} and {count}. Use p = 1, 2 or math.inf."
        )
    if math.isinf(p):

        def beyond(t: FloatArray) -> FloatArray:
            tails = np.vectorize(math.erfc)(t / math.sqrt(2))
            return -np.expm1(count * np.log1p(-np.minimum(tails, 1 - 1e-16)))

        # Of 1e18 values none is beyond 12.
        return adaptive_integral(beyond, (0.0, math.sqrt(2 * math.log(count + 1)), 12.0)).value
    return math.sqrt(2) * math.exp((math.lgamma((p + 1) / 2) - math.lgamma(0.5)) / p)


def _mean_p_norm(x: Tensor, p: float) -> Tensor:
    """(mean |x|^p)^(1/p) by channel, by the fastest way there is to it and back."""
    dims = batch_dims(x)
    if math.isinf(p):
        return x.abs().amax(dims)
    if p == 1:
        return x.abs().mean(dims)
    # Its gradient at a channel of zeros is zero, where that of a power is not a number.
    return torch.linalg.vector_norm(x, p, dims) / values_by_channel(x) ** (1 / p)


class LpBatchNorm(MeasuredNorm):
    """Batch norm by a p-norm: y = γ (x - μ_B)/(s_B + ε) + β, where s_B = (mean |x|^p)^(1/p)/c_p over the batch.

    The p-norm is that of x as it comes in, before its mean is taken away, as in Santurkar et al.; with
    ``centred_norm`` it is of x - μ_B. For p = ∞ it is the largest |x|. The constant c_p = `normal_p_norm` makes s_B
    an estimate of the standard deviation of centred normal values, so that they leave with variance 1, for any
    number of them; the paper has none (``unit_normal=False``), and γ takes its place.

    Args:
        num_features: Number of channels C.
        p: 1 or larger; ``math.inf`` for the maximum.
        eps: ε, added to s_B.
        momentum: As `BatchNorm`.
        centred_norm: Whether the p-norm is of x - μ_B.
        unit_normal: Whether c_p divides; else c_p = 1.
        affine: Whether there are γ and β, of shape (C,).
        track_running_stats: As `BatchNorm`; the averages are ``running_mean`` of μ_B and ``running_scale`` of s_B.
        device: Of parameters and buffers.
        dtype: Of parameters and buffers.

    Shape:
        (N, C, ...) in and out.

    Raises:
        InputError: if p is below 1; as `BatchNorm`.

    Validity:
        The norm of x itself grows with its mean: what has a large mean leaves with a small variance, and is no
        longer invariant to being shifted. Where values are not normal, p ≠ 2 keeps another variance than 1.

    Example:
        >>> x = torch.randn(50_000, 2, generator=torch.Generator().manual_seed(0))
        >>> [round(LpBatchNorm(2, p)(3 * x).std().tolist(), 1) for p in (1, 2, 3, math.inf)]
        [1.0, 1.0, 1.0, 1.0]

    References:
        Santurkar et al. 2018, How does batch normalization help optimization?, section 3.3. Hoffer et al. 2018,
        Norm matters (centred, with c_1).
    """

    running: ClassVar[Mapping[str, float]] = {"running_mean": 0.0, "running_scale": 1.0}

    def __init__(
        self,
        num_features: int,
        p: float = 1.0,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        *,
        centred_norm: bool = False,
        unit_normal: bool = True,
        affine: bool = True,
        track_running_stats: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if not p >= 1:
            raise InputError(f"LpBatchNorm: p must be at least 1, got {p!r}. Use 1, 2 or math.inf.")
        super().__init__(
            num_features, eps, momentum, weight=affine, bias=affine, track_running_stats=track_running_stats,
            device=device, dtype=dtype,
        )  # fmt: skip
        self.p, self.centred_norm, self.unit_normal = float(p), centred_norm, unit_normal

    def measure(self, x: Tensor) -> tuple[Statistics, Statistics]:
        """μ_B and s_B."""
        values, mean = values_by_channel(x), x.mean(batch_dims(x))
        rows = x - by_channel(mean, x) if self.centred_norm else x
        constant = normal_p_norm(self.p, values) if self.unit_normal else 1.0
        scale = _mean_p_norm(rows, self.p) / constant
        return (mean, scale), (mean, scale)

    def normed(self, x: Tensor, *statistics: Tensor) -> Tensor:
        """γ (x - μ)/(s + ε) + β."""
        mean, scale = statistics
        return self.affine(x - by_channel(mean, x), scale + self.eps)

    def extra_repr(self) -> str:
        """With p."""
        return f"{self.num_features}, p={self.p:g}, eps={self.eps}, momentum={self.momentum}"
