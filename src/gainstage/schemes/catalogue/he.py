"""He's schemes, for rectifiers."""

from __future__ import annotations

import math

from gainstage import theory
from gainstage.schemes.base import register_fan_family


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


register_fan_family("he", "He et al. 2015", he, theory.he_gain)
