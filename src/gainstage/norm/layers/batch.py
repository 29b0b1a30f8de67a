"""Batch normalization of any rank: torch's own kernels and state, without python numbers that depend on state."""

from __future__ import annotations

from typing import TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from gainstage.errors import InputError
from gainstage.norm.layers.inputs import require_channels, require_values, take_in


class AffineOptions(TypedDict, total=False):
    """What all layers with batch statistics take, as torch's do.

    Attributes:
        eps: ε, added to the variance. 1e-5.
        affine: Whether there are a scale γ and a shift β to be learnt. True.
        device, dtype: Of parameters and buffers.
    """

    eps: float
    affine: bool
    device: torch.device | str | None
    dtype: torch.dtype | None


class BatchNormOptions(AffineOptions, total=False):
    """And what most of them take.

    Attributes:
        momentum: A batch's share in the running statistics; None: their plain mean over all batches. 0.1.
        track_running_stats: Whether there are running statistics; without, eval mode too norms by the batch. True.
    """

    momentum: float | None
    track_running_stats: bool


class BatchNorm(_BatchNorm):
    """Batch normalization of inputs of any rank: y = γ (x - μ_B)/√(σ_B² + ε) + β.

    `torch.nn.BatchNorm1d` to 3d in one, with their state, their kernels and their subclasses' treatment by other
    code. Two things differ: a plain running mean (``momentum=None``) also works under `torch.func.vmap`, and a batch
    without two values for each channel, an empty one too, is an error before the running statistics are touched.

    Args:
        num_features: Number of channels C, in dimension 1.
        eps: ε.
        momentum: A batch's share in the running statistics; None: their plain mean over all batches.
        affine: Whether there are γ and β, of shape (C,).
        track_running_stats: Whether there are running statistics, the variance unbiased.
        device: Of parameters and buffers.
        dtype: Of parameters and buffers.

    Shape:
        (N, C, ...) in and out.

    Raises:
        InputError: for another number of channels, and in training for fewer than two values for each.

    Validity:
        Statistics of few values are noisy; below 8 or so use a norm of samples.

    Example:
        >>> norm = BatchNorm(3)
        >>> y = norm(torch.randn(4, 3, 5, 5, 5))
        >>> round(abs(y.detach().mean().item()), 4), int(norm.num_batches_tracked)
        (0.0, 1)

    References:
        Ioffe and Szegedy 2015, Batch normalization.
    """

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
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        """The normalized input."""
        self._check_input_dim(input)
        if not self.uses_batch:
            return self.by_running(input)
        require_values(type(self).__name__, input)
        return self.by_batch(input)

    @property
    def uses_batch(self) -> bool:
        """Whether the next forward pass norms by its own batch."""
        return self.training or self.running_mean is None

    def by_running(self, x: Tensor) -> Tensor:
        """Normed by the running statistics, which stay as they are."""
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)

    def by_batch(self, x: Tensor) -> Tensor:
        """Normed by the batch's statistics, which the running ones take in."""
        if self.running_mean is None:
            return self.standardized(x, self.weight, self.bias)
        if self.momentum is None:
            mean, var = torch.zeros_like(self.running_mean), torch.zeros_like(self._running_var)
            y = self.standardized(x, self.weight, self.bias, mean, var)
            self.take_in(mean, var)
            return y
        self._count_batch()
        running = (self.running_mean, self._running_var, self.weight, self.bias)
        return F.batch_norm(x, *running, True, self.momentum, self.eps)

    def standardized(
        self,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor | None = None,
        var: Tensor | None = None,
    ) -> Tensor:
        """weight (x - μ_B)/√(σ_B² + ε) + bias, apart from the running statistics.

        Args:
            x: The batch.
            weight: By channel, or None for 1.
            bias: By channel, or None for 0.
            mean: Zeros of shape (C,), which are overwritten by the batch's means.
            var: Zeros likewise, by the unbiased variances.
        """
        # With a momentum of 1 the kernel's running statistics are the batch's: a by-product for which it would
        # else have to read the batch once more.
        return F.batch_norm(x, mean, var, weight, bias, True, 1.0, self.eps)

    def take_in(self, mean: Tensor, var: Tensor) -> None:
        """Lets the running statistics take in those of one more batch."""
        count = self._count_batch()
        for running, measured in ((self.running_mean, mean), (self.running_var, var)):
            if running is not None:
                take_in(running, measured, count, self.momentum)

    def _count_batch(self) -> Tensor:
        count = self.num_batches_tracked
        if count is None:
            raise InputError(
                f"{type(self).__name__}: num_batches_tracked must be a buffer in training, got None. "
                "Build the layer with track_running_stats=True."
            )
        return count.add_(1)

    @property
    def _running_var(self) -> Tensor:
        assert self.running_var is not None  # it exists wherever running_mean does
        return self.running_var

    def _check_input_dim(self, input: Tensor) -> None:
        require_channels(type(self).__name__, input, self.num_features)
