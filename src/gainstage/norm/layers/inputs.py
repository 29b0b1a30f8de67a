"""What every layer checks of its input, and how it shapes what it knows by channel."""

from __future__ import annotations

import torch
from torch import Tensor

from gainstage.errors import InputError


def require_channels(operation: str, x: Tensor, channels: int, dim: int = 1) -> None:
    """Refuses what has fewer than two dimensions, or another number of channels.

    Args:
        operation: The layer's name.
        x: Its input.
        channels: What it was built for.
        dim: Where they are.

    Raises:
        InputError: names the shape.

    Example:
        >>> require_channels("EvoNormS0", torch.zeros(2, 3), 4)
        Traceback (most recent call last):
            ...
        gainstage.errors.InputError: EvoNormS0: input must have 4 channels in dimension 1, got shape (2, 3). Build \
the layer for 3.
    """
    if x.dim() < 2:
        raise InputError(
            f"{operation}: input must have two or more dimensions, got shape {tuple(x.shape)}. "
            "Put the samples in dimension 0."
        )
    if not -x.dim() <= dim < x.dim():
        raise InputError(
            f"{operation}: input must have a dimension {dim} for its channels, got shape {tuple(x.shape)}. "
            "Build the layer with another dim=."
        )
    if x.shape[dim] != channels:
        raise InputError(
            f"{operation}: input must have {channels} channels in dimension {dim}, got shape {tuple(x.shape)}. "
            f"Build the layer for {x.shape[dim]}."
        )


def require_values(operation: str, x: Tensor) -> None:
    """Refuses a batch whose channels have fewer than two values: it has no variance.

    Raises:
        InputError: names the shape.

    Example:
        >>> require_values("GhostBatchNorm", torch.zeros(1, 3))
        Traceback (most recent call last):
            ...
        gainstage.errors.InputError: GhostBatchNorm: input must have two or more values for each channel in \
training, got shape (1, 3). Use a larger batch, or eval mode.
    """
    if values_by_channel(x) < 2:
        raise InputError(
            f"{operation}: input must have two or more values for each channel in training, got shape "
            f"{tuple(x.shape)}. Use a larger batch, or eval mode."
        )


def batch_dims(x: Tensor) -> tuple[int, ...]:
    """All dimensions but the channels'."""
    return (0, *range(2, x.dim()))


def values_by_channel(x: Tensor) -> int:
    """Samples times positions."""
    return torch.Size([x.shape[dim] for dim in batch_dims(x)]).numel()


def by_channel(values: Tensor, x: Tensor) -> Tensor:
    """One value for each channel, shaped to be broadcast over x."""
    return values.view(1, -1, *[1] * (x.dim() - 2))


def widened(x: Tensor) -> Tensor:
    """In float32 at least: squares of float16 overflow at 256, and sums in bfloat16 stall at 256 terms."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def take_in(running: Tensor, measured: Tensor, count: Tensor, momentum: float | None) -> None:
    """Lets a running statistic take in a batch's, in place.

    Args:
        running: The statistic.
        measured: The batch's.
        count: Number of batches, this one included.
        momentum: The batch's share; None: 1/count, which is the mean over all batches.
    """
    # As a tensor, for the count may differ between the networks of a vmap; of a whole number torch makes float32.
    wide = torch.promote_types(running.dtype, torch.float32)
    share = count.to(wide).reciprocal() if momentum is None else momentum
    running.add_((measured - running) * share)


def parameter(
    channels: int, value: float, device: torch.device | str | None, dtype: torch.dtype | None
) -> torch.nn.Parameter:
    """A parameter of shape (channels,), of one value throughout."""
    return torch.nn.Parameter(torch.full((channels,), value, device=device, dtype=dtype))
