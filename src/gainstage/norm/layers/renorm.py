"""Batch renormalization: outputs as at inference, gradients through the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gainstage.errors import InputError
from gainstage.norm.layers.batch import AffineOptions, BatchNorm
from gainstage.norm.layers.inputs import batch_dims, by_channel, values_by_channel, widened
from gainstage.numerics import require_non_negative

if TYPE_CHECKING:
    from typing_extensions import Unpack


def renorm_limits(step: int) -> tuple[float, float]:
    """Returns r_max and d_max as Ioffe's own training had them.

    (1, 0) for 5000 steps, which is batch norm; from there r_max rises linearly to 3 at step 40,000, and d_max to 5
    at step 25,000.

    Args:
        step: Number of optimizer steps so far.

    Returns:
        r_max and d_max.

    Raises:
        InputError: if the step is negative.

    Validity:
        Steps of the paper's ImageNet run at its learning rate; scale the step for other lengths of training.

    Example:
        >>> [renorm_limits(step) for step in (0, 15_000, 100_000)]
        [(1.0, 0.0), (1.5714285714285714, 2.5), (3.0, 5.0)]

    References:
        Ioffe 2017, Batch renormalization, section 4.1.
    """
    require_non_negative("renorm_limits", "step", step, "Give the number of optimizer steps so far.")
    return 1 + 2 * _ramp(step, 40_000), 5 * _ramp(step, 25_000)


def _ramp(step: int, end: int, start: int = 5000) -> float:
    return min(1.0, max(0.0, (step - start) / (end - start)))


class BatchRenorm(BatchNorm):
    """Batch renormalization: y = γ ((x - μ_B)/σ_B · r + d) + β, with r and d constants to the gradient.

    r = clip(σ_B/σ, 1/r_max, r_max) and d = clip((μ_B - μ)/σ, -d_max, d_max), where σ_B = √(var_B + ε) of the batch
    and μ, σ = √(running_var + ε) are the running statistics before they take in the batch. Unclipped, the output
    is that of inference; with r_max = 1 and d_max = 0, which it starts from, it is batch norm. The schedule is the
    caller's: call `set_limits` in the training loop, with `renorm_limits` for the paper's.

    Args:
        num_features: Number of channels C.
        r_max: Largest r, at least 1. A buffer, like d_max: part of the state, and one for each network under vmap.
        d_max: Largest |d|, at least 0.
        momentum: As `BatchNorm`; 0.01 as the paper has it.
        options: As `BatchNorm`: eps, affine, device, dtype.

    Shape:
        (N, C, ...) in and out.

    Raises:
        InputError: for limits out of range; as `BatchNorm`.

    Validity:
        Running averages are those of torch's batch norm, of the mean and of the unbiased variance, where the paper
        averages σ_B itself: the state can be handed to and fro between both, and in eval mode it is `BatchNorm`.

    Example:
        >>> norm, x = BatchRenorm(4, r_max=100.0, d_max=100.0), torch.randn(8, 4)
        >>> expected = BatchNorm(4).eval()(x)
        >>> torch.allclose(norm(x), expected, atol=1e-5)
        True

    References:
        Ioffe 2017, Batch renormalization, algorithm 1.
    """

    r_max: Tensor
    d_max: Tensor

    def __init__(
        self,
        num_features: int,
        r_max: float = 1.0,
        d_max: float = 0.0,
        *,
        momentum: float | None = 0.01,
        **options: Unpack[AffineOptions],
    ) -> None:
        super().__init__(num_features, momentum=momentum, **options)
        device, dtype = options.get("device"), options.get("dtype")
        self.register_buffer("r_max", torch.ones((), device=device, dtype=dtype))
        self.register_buffer("d_max", torch.zeros((), device=device, dtype=dtype))
        self.set_limits(r_max, d_max)

    def set_limits(self, r_max: float, d_max: float) -> None:
        """Sets how far the running statistics may correct the batch's.

        Raises:
            InputError: if r_max is below 1 or d_max below 0.
        """
        require_non_negative("BatchRenorm", "d_max", d_max, "Give 0 for none.")
        if not r_max >= 1:
            raise InputError(f"BatchRenorm: r_max must be at least 1, got {r_max!r}. Give 1 for none.")
        self.r_max.fill_(r_max)
        self.d_max.fill_(d_max)

    def by_batch(self, x: Tensor) -> Tensor:
        """Normed by the batch, corrected towards the running statistics, which then take it in."""
        r, d, mean, var = self._corrections(x)
        weight, bias = (self.weight * r, self.weight * d + self.bias) if self.affine else (r, d)
        y = self.standardized(x, weight, bias)
        self.take_in(mean, var)
        return y

    @torch.no_grad()
    def _corrections(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        assert self.running_mean is not None
        x, dims, values = widened(x), batch_dims(x), values_by_channel(x)
        mean = x.mean(dims)
        # torch.var_mean takes several times as long on the CPU.
        batch_var, std = (x - by_channel(mean, x)).square().mean(dims), (self._running_var + self.eps).sqrt()
        r = _within((batch_var + self.eps).sqrt() / std, 1 / self.r_max, self.r_max)
        d = _within((mean - self.running_mean) / std, -self.d_max, self.d_max)
        return r, d, mean, batch_var * (values / (values - 1))


def _within(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    # Not clamp: in a recording of what runs that is an activation.
    return torch.maximum(torch.minimum(values, high), low)
