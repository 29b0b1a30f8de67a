"""Glorot's schemes, for saturating activations."""

from __future__ import annotations

from gainstage.schemes.base import register_fan_family


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


register_fan_family("glorot", "Glorot and Bengio 2010", glorot)
