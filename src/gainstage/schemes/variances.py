"""Independent draws of a given variance: normal, uniform, or normal cut off at two standard deviations."""

from __future__ import annotations

import math
from typing import Literal, TypedDict

import torch

from gainstage.errors import InputError


class _Where(TypedDict):
    dtype: torch.dtype
    device: str


# Whatever torch's default type and device are at the moment.
FLOAT32: _Where = {"dtype": torch.float32, "device": "cpu"}
Distribution = Literal["normal", "uniform", "truncated_normal"]

# The mass of N(0, 1) within ±2, and its variance there: 1 - 4·φ(2)/mass.
_CUT = 2.0
_MASS = math.erf(_CUT / math.sqrt(2))
TRUNCATED_VARIANCE = 1 - 2 * _CUT * math.exp(-(_CUT**2) / 2) / math.sqrt(2 * math.pi) / _MASS


def draw(
    shape: tuple[int, ...], variance: float, distribution: Distribution, generator: torch.Generator
) -> torch.Tensor:
    """Independent centred draws of the given variance, float32 on the CPU.

    - ``normal``: N(0, Var);
    - ``uniform``: U(±√(3·Var));
    - ``truncated_normal``: N(0, s²) within ±2s, where s² = Var/0.7737 makes up for what the cut takes away.

    Args:
        shape: Of the weight.
        variance: Of each entry; 0 gives zeros.
        distribution: One of these.
        generator: A CPU generator.

    Returns:
        The tensor; cast it afterwards, a draw in a narrower type is not of this distribution.

    Raises:
        InputError: if the variance is negative or not finite.

    Example:
        >>> import torch
        >>> w = draw((1000, 50), 1 / 50, "uniform", torch.Generator().manual_seed(0))
        >>> round(float(w.var() * 50), 2)
        1.0
    """
    if not (0 <= variance < math.inf):
        raise InputError(f"draw: variance must be finite and not negative, got {variance}. Check the fans.")
    if variance == 0:
        return torch.zeros(shape, **FLOAT32)  # a product with 0 would have zeros of both signs
    if distribution == "normal":
        return torch.randn(shape, generator=generator, **FLOAT32).mul_(math.sqrt(variance))
    spread = torch.rand(shape, generator=generator, **FLOAT32) * 2 - 1
    if distribution == "uniform":
        return spread * math.sqrt(3 * variance)
    # The quantile function on the part of (0, 1) that the cut leaves; rounding may step over the cut by an ulp.
    within = torch.erfinv(spread * _MASS).mul_(math.sqrt(2)).clamp_(-_CUT, _CUT)
    return within * math.sqrt(variance / TRUNCATED_VARIANCE)
