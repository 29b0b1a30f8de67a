"""Batch norm of virtual batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gainstage.errors import InputError
from gainstage.norm.layers.batch import BatchNorm, BatchNormOptions
from gainstage.norm.layers.inputs import require_values

if TYPE_CHECKING:
    from typing_extensions import Unpack


class GhostBatchNorm(BatchNorm):
    """Batch norm of each virtual batch by itself: y = γ (x - μ_V)/√(σ_V² + ε) + β, V the sample's part of the batch.

    It keeps the noise of small batches in large ones. A batch of N is cut, in order, into ⌈N/virtual_batch_size⌉
    virtual ones, whose sizes differ by one at most. The running statistics take them in one after the other, so
    that each counts as a batch.

    Args:
        num_features: Number of channels C.
        virtual_batch_size: The largest number of samples that are normed together.
        options: As `BatchNorm`: eps, momentum, affine, track_running_stats, device, dtype.

    Shape:
        (N, C, ...) in and out.

    Raises:
        InputError: for a size below 1; as `BatchNorm`, for each virtual batch.

    Validity:
        What shares a virtual batch depends on the order of the samples.

    Example:
        >>> norm = GhostBatchNorm(4, virtual_batch_size=32)
        >>> y = norm(torch.randn(80, 4))
        >>> int(norm.num_batches_tracked), bool(y[:27].mean(0).abs().max() < 1e-6)
        (3, True)

    References:
        Hoffer, Hubara and Soudry 2017, Train longer, generalize better, algorithm 1.
    """

    def __init__(self, num_features: int, virtual_batch_size: int = 32, **options: Unpack[BatchNormOptions]) -> None:
        super().__init__(num_features, **options)
        if virtual_batch_size < 1:
            raise InputError(
                f"GhostBatchNorm: virtual_batch_size must be at least 1, got {virtual_batch_size}. "
                "Give a size such as 32."
            )
        self.virtual_batch_size = virtual_batch_size

    def by_batch(self, x: Tensor) -> Tensor:
        """Each virtual batch normed by its own statistics."""
        parts = x.tensor_split(-(-x.shape[0] // self.virtual_batch_size))
        require_values("GhostBatchNorm", parts[-1])
        return torch.cat([super(GhostBatchNorm, self).by_batch(part) for part in parts])

    def extra_repr(self) -> str:
        """With the size."""
        return f"{super().extra_repr()}, virtual_batch_size={self.virtual_batch_size}"
