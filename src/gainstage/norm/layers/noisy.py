"""Batch norm with shifting noise behind it, which undoes what it does to distributions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from gainstage.norm.layers.batch import BatchNorm, BatchNormOptions
from gainstage.numerics import require_non_negative, require_positive

if TYPE_CHECKING:
    from typing_extensions import Unpack

NoiseUnit = Literal["channel", "position"]


@dataclass(frozen=True)
class ShiftingNoise:
    """Noise a ← s a + m whose own distribution is drawn anew in each step.

    For each unit μ ~ U(-mean, mean) and σ ~ U(1, std); for each sample of it m ~ U(μ - mean_spread,
    μ + mean_spread) and s ~ N(σ, std_spread²). The defaults are the paper's.

    Attributes:
        mean: Half the width of the units' means.
        std: The largest of the units' scales.
        mean_spread: Half the width of the samples' shifts about the unit's.
        std_spread: The standard deviation of the samples' scales about the unit's.

    Raises:
        InputError: for a negative width, or a largest scale that is not positive.

    Example:
        >>> scale, shift = ShiftingNoise(mean_spread=0.0).draw((1, 3), (4, 3))
        >>> scale.shape, bool((shift == shift[0]).all())
        (torch.Size([4, 3]), True)

    References:
        Santurkar et al. 2018, How does batch normalization help optimization?, section 2.1 and appendix A.
    """

    mean: float = 0.5
    std: float = 1.25
    mean_spread: float = 0.1
    std_spread: float = 0.1

    def __post_init__(self) -> None:
        require_positive("ShiftingNoise", "std", self.std, "Give the largest scale; 1.25 is the paper's.")
        for name in ("mean", "mean_spread", "std_spread"):
            require_non_negative("ShiftingNoise", name, getattr(self, name), "Give a width; 0 is none.")

    def draw(
        self,
        unit: tuple[int, ...],
        sample: tuple[int, ...],
        generator: torch.Generator | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> tuple[Tensor, Tensor]:
        """Returns s and m, of shape ``sample``.

        Args:
            unit: One entry for each unit, with a first dimension of 1.
            sample: The same with one entry for each sample.
            generator: On the device; None: torch's own.
            device: To draw on.
            dtype: To draw in.
        """

        def uniform(shape: tuple[int, ...], low: Tensor | float, high: Tensor | float) -> Tensor:
            return low + (high - low) * torch.rand(shape, generator=generator, device=device, dtype=dtype)

        means, stds = uniform(unit, -self.mean, self.mean), uniform(unit, 1.0, self.std)
        shift = uniform(sample, means - self.mean_spread, means + self.mean_spread)
        return stds + self.std_spread * torch.randn(sample, generator=generator, device=device, dtype=dtype), shift


class NoisyBatchNorm(BatchNorm):
    """Batch norm with noise behind it: y = s BN(x) + m, in training only.

    Args:
        num_features: Number of channels C.
        noise: How s and m are drawn; the paper's by default.
        unit: What counts as a unit with a distribution of its own, and is drawn for by itself in each sample: a
            ``channel``, whose positions share the noise, or a ``position`` of it. The paper does not say; for
            inputs (N, C) it is the same.
        generator: Of the noise, on the input's device; None: torch's own. It is the caller's, and not part of the
            state_dict.
        options: As `BatchNorm`: eps, momentum, affine, track_running_stats, device, dtype.

    Shape:
        (N, C, ...) in and out.

    Raises:
        InputError: as `BatchNorm`.

    Validity:
        Under `torch.func.vmap` say ``randomness="different"`` for networks with noise of their own, or "same".
        Running statistics are of what comes in: in eval mode it is `BatchNorm`.

    Example:
        >>> norm = NoisyBatchNorm(8, generator=torch.Generator().manual_seed(0))
        >>> y = norm(torch.randn(4096, 8))
        >>> bool((y.mean(0).abs() > 0.01).any()), torch.equal(norm.eval()(y), BatchNorm.forward(norm, y))
        (True, True)

    References:
        Santurkar et al. 2018, How does batch normalization help optimization?, section 2.1 and appendix A.
    """

    def __init__(
        self,
        num_features: int,
        *,
        noise: ShiftingNoise = ShiftingNoise(),
        unit: NoiseUnit = "channel",
        generator: torch.Generator | None = None,
        **options: Unpack[BatchNormOptions],
    ) -> None:
        super().__init__(num_features, **options)
        self.noise = noise
        self.unit: NoiseUnit = unit
        self.generator = generator

    def by_batch(self, x: Tensor) -> Tensor:
        """Normed by the batch, and disturbed where the module is in training mode."""
        y = super().by_batch(x)
        if not self.training:
            return y
        positions = x.shape[2:] if self.unit == "position" else (1,) * (x.dim() - 2)
        unit, sample = (1, x.shape[1], *positions), (x.shape[0], x.shape[1], *positions)
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        scale, shift = self.noise.draw(unit, sample, self.generator, x.device, wide)
        return torch.addcmul(shift, y, scale).to(y.dtype)

    def extra_repr(self) -> str:
        """With the noise."""
        return f"{super().extra_repr()}, noise={self.noise}, unit={self.unit!r}"
