"""How far running statistics are from a batch's, and how far the number of updates explains."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

# A distance of so many times what is expected is not chance.
APART = 3.0


@dataclass(frozen=True)
class Agreement:
    """Running against batch statistics of one norm.

    Attributes:
        shift: rms over channels of (batch mean - running mean)/batch std.
        expected_shift: What noise and the memory of the initial values explain of it.
        spread: rms over channels of ln(batch variance/running variance).
        expected_spread: Likewise.
        updates: How many batches the running statistics have seen; None if they were not counted.
    """

    shift: float
    expected_shift: float
    spread: float
    expected_spread: float
    updates: int | None

    @property
    def apart(self) -> bool:
        """Whether one distance is more than three times what is expected."""
        return self.shift > APART * self.expected_shift or self.spread > APART * self.expected_spread


def agreement(
    x: torch.Tensor, running_mean: torch.Tensor, running_var: torch.Tensor, momentum: float | None, updates: int | None
) -> Agreement | None:
    """Compares the statistics of what a norm reads with its running ones.

    The batch's mean has the standard error s/√N, where s is the standard deviation of the N samples' own means, so that
    positions of one sample need not be independent; its variance likewise. A running average with momentum m has after
    k updates m/(2 - m)·(1 - (1 - m)^2k) of a batch's noise, a cumulative one 1/k, and w = (1 - m)^k of the initial mean
    0 and variance 1:

    E shift² = mean_c [s_c²/N (1 + noise) + w² μ_c²]/σ_c²

    Args:
        x: (N, C, ...), what the norm reads.
        running_mean, running_var: (C,).
        momentum: Of the norm; None for a cumulative average.
        updates: ``num_batches_tracked``; None: taken for many.

    Returns:
        The distances; None below two samples or values a channel, or where nothing varies.

    Validity:
        The running statistics are taken to come from batches like this one, of the same size, and of the same
        weights. With few samples s is known badly.

    Example:
        >>> x = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
        >>> found = agreement(x, torch.zeros(16), torch.ones(16), momentum=0.1, updates=1000)
        >>> found.apart
        False
    """
    samples, values = x.shape[0], x.numel() // max(1, x.shape[1])
    if samples < 2 or values < 2:
        return None
    x = x.double().flatten(2) if x.ndim > 2 else x.double().unsqueeze(-1)
    mean = x.mean((0, 2))
    squares = (x - mean.view(1, -1, 1)).square()
    var = squares.mean((0, 2)) * values / (values - 1)
    live = var > 0
    if not bool(live.any()):
        return None
    noise, memory = _memory(momentum, updates)
    mean_error = x.mean(2).var(0) / samples
    var_error = squares.mean(2).var(0) / samples
    old_mean, old_var = running_mean.to(mean), running_var.to(mean).clamp_min(torch.finfo(torch.float32).tiny)
    remembered = var * (1 - memory) + memory
    parts = (
        (mean - old_mean).square() / var,
        (mean_error * (1 + noise) + (memory * mean).square()) / var,
        (var / old_var).log().square(),
        var_error / var.square() * (1 + noise) + (var / remembered).log().square(),
    )
    figures = [math.sqrt(float(part[live].mean())) for part in parts]
    return Agreement(*figures, updates=updates)


def _memory(momentum: float | None, updates: int | None) -> tuple[float, float]:
    """Share of a batch's noise in the running average, and the weight of what it began with."""
    if momentum is None:
        return (0.0, 0.0) if updates is None else (1 / updates, 0.0) if updates else (0.0, 1.0)
    left = 0.0 if updates is None else (1 - momentum) ** updates
    return momentum / (2 - momentum) * (1 - left * left), left
