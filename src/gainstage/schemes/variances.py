"""The variance schemes: a variance from fans and gain, and a distribution of that variance.

Adding one is one line in `SCHEMES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from gainstage.errors import InputError, UnknownNameError

Distribution = Literal["normal", "uniform"]
Variance = Callable[[float, float, float], float]


@dataclass(frozen=True)
class Scheme:
    """A named scheme.

    Attributes:
        name: ``he_normal``.
        source: The paper.
        distribution: Of the draws.
        variance: Var W as a function of fan_in, fan_out and gain.
        uses_gain: Whether the activation's gain enters; otherwise 1 is taken.
    """

    name: str
    source: str
    distribution: Distribution
    variance: Variance
    uses_gain: bool


def glorot(fan_in: float, fan_out: float, gain: float = 1.0) -> float:
    """Returns Var W = 2·gain²/(fan_in + fan_out), which weighs forward and backward alike.

    Args:
        fan_in, fan_out: Of one unit, above zero.
        gain: Of what follows; the paper's is 1.

    Validity:
        Activations that are linear about zero, with slope 1 and a symmetric range (tanh).

    Example:
        >>> glorot(100, 300)
        0.005

    References:
        Glorot and Bengio 2010, equation 16.
    """
    return 2 * gain**2 / (fan_in + fan_out)


def he(fan_in: float, fan_out: float, gain: float = math.sqrt(2)) -> float:  # noqa: ARG001 - one signature for all
    """Returns Var W = gain²/fan_in, which keeps the second moment forward; gain² = 2 for ReLU.

    Args:
        fan_in: Of one unit, above zero.
        fan_out: Not used.
        gain: E[φ²]^(-1/2) under a standard normal preactivation, `gainstage.theory.he_gain`.

    Validity:
        Wide layers; squared gradients keep their size too for (leaky) ReLU only.

    Example:
        >>> round(he(100, 300), 3)
        0.02

    References:
        He et al. 2015, equation 10.
    """
    return gain**2 / fan_in


def lecun(fan_in: float, fan_out: float, gain: float = 1.0) -> float:  # noqa: ARG001 - one signature for all
    """Returns Var W = 1/fan_in, which keeps the second moment of a linear map.

    Args:
        fan_in: Of one unit, above zero.
        fan_out, gain: Not used.

    Example:
        >>> lecun(100, 300)
        0.01

    References:
        LeCun et al. 1998, Efficient BackProp, section 4.6.
    """
    return 1 / fan_in


_SOURCES: tuple[tuple[str, Variance, str, bool], ...] = (
    ("glorot", glorot, "Glorot and Bengio 2010", False),
    ("he", he, "He et al. 2015", True),
    ("lecun", lecun, "LeCun et al. 1998", False),
)
SCHEMES: dict[str, Scheme] = {
    f"{name}_{distribution}": Scheme(f"{name}_{distribution}", source, distribution, variance, uses_gain)
    for name, variance, source, uses_gain in _SOURCES
    for distribution in ("normal", "uniform")
}
AUTO = {"auto": "normal", "auto_normal": "normal", "auto_uniform": "uniform"}


def scheme_names() -> tuple[str, ...]:
    """All names that ``scheme=`` takes."""
    return (*AUTO, *SCHEMES)


def scheme(name: str) -> Scheme:
    """The scheme of this name.

    Args:
        name: One of `SCHEMES`; ``auto`` and its kin are no scheme of their own.

    Raises:
        UnknownNameError: if there is none.

    Example:
        >>> scheme("he_uniform").source
        'He et al. 2015'
    """
    if name not in SCHEMES:
        raise UnknownNameError("initialize", "scheme", name, scheme_names())
    return SCHEMES[name]


def draw(
    shape: tuple[int, ...], variance: float, distribution: Distribution, generator: torch.Generator
) -> torch.Tensor:
    """Independent centred draws of the given variance, float32 on the CPU: N(0, Var) or U(±√(3·Var)).

    Args:
        shape: Of the weight.
        variance: Of each entry; 0 gives zeros.
        distribution: ``normal`` or ``uniform``.
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
    if distribution == "normal":
        return torch.randn(shape, generator=generator) * math.sqrt(variance)
    return (torch.rand(shape, generator=generator) * 2 - 1) * math.sqrt(3 * variance)
