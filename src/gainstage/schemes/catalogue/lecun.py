"""LeCun's schemes, for what nothing follows, and for SELU."""

from __future__ import annotations

from gainstage.schemes.base import register_fan_family


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


register_fan_family("lecun", "LeCun et al. 1998", lecun)
