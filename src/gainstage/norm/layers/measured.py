"""The frame of layers that norm by a statistic of the batch which torch's kernels do not know."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from gainstage.norm.layers.inputs import by_channel, parameter, require_channels, require_values, take_in, widened

Statistics = tuple[Tensor, ...]


class MeasuredNorm(nn.Module, ABC):
    """A layer that norms by channel, by statistics of the batch in training and by running ones in eval mode.

    What a subclass says: which running statistics there are, how they are measured, and how x is normed by them.
    Arithmetic is in float32 at least, and the output of the input's type.

    Args:
        num_features: Number of channels C, in dimension 1.
        eps: ε.
        momentum: A batch's share in the running statistics; None: their plain mean over all batches.
        weight: Whether there is a scale γ.
        bias: Whether there is a shift β.
        track_running_stats: Whether there are running statistics; without, eval mode too norms by the batch.
        device: Of parameters and buffers.
        dtype: Of parameters and buffers.
    """

    # Name of the buffer to what it starts from.
    running: ClassVar[Mapping[str, float]]

    weight: nn.Parameter | None
    bias: nn.Parameter | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        *,
        weight: bool,
        bias: bool,
        track_running_stats: bool,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.track_running_stats = track_running_stats
        self.register_parameter("weight", parameter(num_features, 1.0, device, dtype) if weight else None)
        self.register_parameter("bias", parameter(num_features, 0.0, device, dtype) if bias else None)
        for name, start in self.running.items():
            buffer = torch.full((num_features,), start, device=device, dtype=dtype) if track_running_stats else None
            self.register_buffer(name, buffer)
        count = torch.zeros((), dtype=torch.long, device=device) if track_running_stats else None
        self.register_buffer("num_batches_tracked", count)

    @abstractmethod
    def measure(self, x: Tensor) -> tuple[Statistics, Statistics]:
        """The batch's statistics by channel: those to norm by, with their gradient, and those to be averaged."""

    @abstractmethod
    def normed(self, x: Tensor, *statistics: Tensor) -> Tensor:
        """x by its statistics, γ and β, all in the same type."""

    def forward(self, input: Tensor) -> Tensor:
        """The normalized input."""
        require_channels(type(self).__name__, input, self.num_features)
        x = widened(input)
        if self.training or self.num_batches_tracked is None:
            require_values(type(self).__name__, input)
            statistics, averaged = self.measure(x)
            if self.num_batches_tracked is not None:
                self._take_in(self.num_batches_tracked, [value.detach() for value in averaged])
        else:
            statistics = tuple(self.get_buffer(name).to(x.dtype) for name in self.running)
        return self.normed(x, *statistics).to(input.dtype)

    def affine(self, centred: Tensor, divisor: Tensor | None = None) -> Tensor:
        """γ centred/divisor + β by channel, in one pass over the input."""
        scale = None if self.weight is None else self.weight.to(centred.dtype)
        if divisor is not None:
            scale = divisor.reciprocal() if scale is None else scale / divisor
        if self.bias is None:
            return centred if scale is None else centred * by_channel(scale, centred)
        shift = by_channel(self.bias.to(centred.dtype), centred)
        return centred + shift if scale is None else torch.addcmul(shift, centred, by_channel(scale, centred))

    def reset_running_stats(self) -> None:
        """Sets the running statistics to what they start from."""
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.zero_()
            for name, start in self.running.items():
                self.get_buffer(name).fill_(start)

    def _take_in(self, count: Tensor, measured: list[Tensor]) -> None:
        count.add_(1)
        for name, value in zip(self.running, measured, strict=True):
            take_in(self.get_buffer(name), value, count, self.momentum)

    def extra_repr(self) -> str:
        """As torch's batch norm."""
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"
