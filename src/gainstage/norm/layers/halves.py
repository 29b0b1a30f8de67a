"""Halves of batch normalization: centring alone, and scaling alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from gainstage.norm.layers.inputs import batch_dims, by_channel, values_by_channel
from gainstage.norm.layers.measured import MeasuredNorm, Statistics


class MeanOnlyBatchNorm(MeasuredNorm):
    """Centring by the batch alone: y = x - μ_B + β.

    Args:
        num_features: Number of channels C.
        momentum: As `BatchNorm`; the average is ``running_mean``.
        bias: Whether there is β, of shape (C,). There is no scale, as nothing is divided by.
        track_running_stats: As `BatchNorm`.
        device: Of parameters and buffers.
        dtype: Of parameters and buffers.

    Shape:
        (N, C, ...) in and out.

    Raises:
        InputError: as `BatchNorm`.

    Validity:
        It leaves the scale to the weights: with `weight_norm`, or an initialization that keeps it.

    Example:
        >>> y = MeanOnlyBatchNorm(3)(5 + 2 * torch.randn(100, 3))
        >>> bool(y.mean(0).abs().max() < 1e-5), bool(y.std() > 1.5)
        (True, True)

    References:
        Salimans and Kingma 2016, Weight normalization, section 4.
    """

    running: ClassVar[Mapping[str, float]] = {"running_mean": 0.0}

    def __init__(
        self,
        num_features: int,
        momentum: float | None = 0.1,
        *,
        bias: bool = True,
        track_running_stats: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            num_features, 0.0, momentum, weight=False, bias=bias, track_running_stats=track_running_stats,
            device=device, dtype=dtype,
        )  # fmt: skip

    def measure(self, x: Tensor) -> tuple[Statistics, Statistics]:
        """μ_B."""
        statistics = (x.mean(batch_dims(x)),)
        return statistics, statistics

    def normed(self, x: Tensor, *statistics: Tensor) -> Tensor:
        """x - μ + β."""
        (mean,) = statistics
        return x - by_channel(mean if self.bias is None else mean - self.bias.to(mean.dtype), x)


class ScaleOnlyBatchNorm(MeasuredNorm):
    """Scaling by the batch alone: y = γ x/√(σ_B² + ε) + β, σ_B² the variance about the mean, which stays in x.

    Args:
        num_features: Number of channels C.
        eps: ε.
        momentum: As `BatchNorm`; the average is ``running_var``, of the unbiased variance.
        affine: Whether there are γ and β, of shape (C,).
        track_running_stats: As `BatchNorm`.
        device: Of parameters and buffers.
        dtype: Of parameters and buffers.

    Shape:
        (N, C, ...) in and out.

    Raises:
        InputError: as `BatchNorm`.

    Validity:
        Means stay, in units of σ_B: behind rectifiers they add up over depth.

    Example:
        >>> y = ScaleOnlyBatchNorm(3)(6 + 2 * torch.randn(10_000, 3))
        >>> round(y.std().tolist(), 1), round(y.mean().tolist())
        (1.0, 3)

    References:
        Batch normalization (Ioffe and Szegedy 2015) without its centring.
    """

    running: ClassVar[Mapping[str, float]] = {"running_var": 1.0}

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        *,
        affine: bool = True,
        track_running_stats: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            num_features, eps, momentum, weight=affine, bias=affine, track_running_stats=track_running_stats,
            device=device, dtype=dtype,
        )  # fmt: skip

    def measure(self, x: Tensor) -> tuple[Statistics, Statistics]:
        """σ_B², biased to norm by and unbiased to be averaged."""
        dims, values = batch_dims(x), values_by_channel(x)
        var = (x - x.mean(dims, keepdim=True)).square().mean(dims)
        return (var,), (var * (values / (values - 1)),)

    def normed(self, x: Tensor, *statistics: Tensor) -> Tensor:
        """γ x/√(σ² + ε) + β."""
        (var,) = statistics
        return self.affine(x, (var + self.eps).sqrt())
