"""Mean field of a deep network at initialization: maps of variance and correlation from layer to layer.

Throughout, ``weight_var`` is σ_w² = fan_in·Var W and ``bias_var`` is σ_b² = Var b: both are variances, and
the first has the fan-in in it. ``q`` is the variance of a preactivation, ``c`` a correlation of two.
"""

from __future__ import annotations

import math
from typing import overload

import numpy as np

from gainstage.numerics import (
    FloatArray,
    gaussian_expectation,
    gaussian_pair_expectation,
    require_non_negative,
    require_positive,
    require_within,
)
from gainstage.theory.activations import Activation
from gainstage.theory.moments import derivative_second_moment, require_all_non_negative, scaled, second_moment

_WEIGHT = "Give fan_in times the variance of the weights."
_BIAS = "Give the variance of the biases, 0 without them."
_Q = "Give the variance of the preactivation."


@overload
def q_map(q: float, act: Activation, weight_var: float, bias_var: float = 0.0) -> float: ...
@overload
def q_map(
    q: FloatArray, act: Activation, weight_var: float | FloatArray, bias_var: float | FloatArray = 0.0
) -> FloatArray: ...
def q_map(
    q: float | FloatArray,
    act: Activation,
    weight_var: float | FloatArray,
    bias_var: float | FloatArray = 0.0,
) -> float | FloatArray:
    """Returns the next layer's variance q′ = σ_w² E φ(√q z)² + σ_b².

    Args:
        q: Variance of the preactivation, at least 0; an array gives an array.
        act: The activation φ.
        weight_var: σ_w² = fan_in·Var W; with an array of q also an array that goes with it.
        bias_var: σ_b² = Var b; likewise.

    Returns:
        The variance of the next preactivation.

    Raises:
        InputError: if a variance is negative or not finite.

    Validity:
        Exact for infinite width and independent, centred weights; see `propagate` for finite widths.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> q_map(3.0, activation("relu"), weight_var=2.0)
        3.0

    References:
        Poole et al. 2016, Exponential expressivity in deep neural networks through transient chaos.
    """
    if isinstance(q, np.ndarray) or isinstance(weight_var, np.ndarray) or isinstance(bias_var, np.ndarray):
        for name, values, advice in (("weight_var", weight_var, _WEIGHT), ("bias_var", bias_var, _BIAS)):
            require_all_non_negative("q_map", name, np.asarray(values, dtype=np.float64), advice)
        return weight_var * second_moment(act, np.asarray(q, dtype=np.float64)) + bias_var
    _require_variances("q_map", q, weight_var, bias_var)
    return weight_var * second_moment(act, q) + bias_var


def q_map_slope(q: float, act: Activation, weight_var: float) -> float:
    """Returns dq′/dq = σ_w² E[z φ(√q z) φ′(√q z)]/√q = χ₁ + σ_w² E[φ″φ].

    The first form needs no second derivative and holds at kinks.

    Args:
        q: Variance of the preactivation, above 0.
        act: The activation φ.
        weight_var: σ_w² = fan_in·Var W.

    Returns:
        The slope of `q_map`.

    Raises:
        InputError: if a variance is out of its range.

    Validity:
        As for `q_map`.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> q_map_slope(3.0, activation("relu"), weight_var=2.0)
        1.0

    References:
        Schoenholz et al. 2017, Deep information propagation, equation (8).
    """
    require_positive("q_map_slope", "q", q, _Q)
    require_positive("q_map_slope", "weight_var", weight_var, _WEIGHT)
    if act.slopes is not None:
        return weight_var * derivative_second_moment(act, q)
    function, kinks = scaled(act, lambda z: z * act.function(z) * act.derivative(z), q)
    return weight_var * gaussian_expectation(function, kinks=kinks) / q


def c_map(c: float, q: float, act: Activation, weight_var: float, bias_var: float = 0.0) -> float:
    """Returns the next layer's correlation c′ = (σ_w² E φ(√q z₁) φ(√q z₂) + σ_b²)/q′.

    z₁ and z₂ are standard normal with correlation c, and q′ is `q_map` of q. For (leaky) ReLU the expectation
    is the arc-cosine kernel in closed form; for ReLU at σ_b² = 0, c′ = (√(1-c²) + c(π - arccos c))/π.

    Args:
        c: Correlation of two inputs' preactivations, in [-1, 1].
        q: Their common variance, above 0; usually the fixed point q*.
        act: The activation φ.
        weight_var: σ_w² = fan_in·Var W.
        bias_var: σ_b² = Var b.

    Returns:
        The correlation after the next map; 1 at c = 1.

    Raises:
        InputError: if an argument is out of its range.

    Validity:
        As for `q_map`; both inputs of the same variance.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> round(c_map(0.0, 1.0, activation("relu"), weight_var=2.0), 6)  # 1/π
        0.31831

    References:
        Poole et al. 2016; Cho and Saul 2009, Kernel methods for deep learning (the closed form).
    """
    require_within("c_map", "c", c, -1, 1, "Divide the covariance by the variance.")
    require_positive("c_map", "q", q, _Q)
    _require_variances("c_map", q, weight_var, bias_var)
    if c == 1:
        return 1.0
    covariance = weight_var * _pair_moment(act, q, c) + bias_var
    # Rounding must not carry a correlation out of its range: the next layer would refuse it.
    return min(1.0, max(-1.0, covariance / q_map(q, act, weight_var, bias_var)))


@overload
def chi1(q: float, act: Activation, weight_var: float) -> float: ...
@overload
def chi1(q: FloatArray, act: Activation, weight_var: float | FloatArray) -> FloatArray: ...
def chi1(q: float | FloatArray, act: Activation, weight_var: float | FloatArray) -> float | FloatArray:
    """Returns χ₁ = σ_w² E φ′(√q z)²: the slope of the c-map at c = 1, and the growth of squared gradients.

    Args:
        q: Variance of the preactivation, at least 0; usually the fixed point q*. An array gives an array.
        act: The activation φ.
        weight_var: σ_w² = fan_in·Var W; with an array of q also an array that goes with it.

    Returns:
        The factor: below 1 ordered (gradients vanish), above 1 chaotic (they explode).

    Raises:
        InputError: if a variance is out of its range.

    Validity:
        As for `q_map`. A layer from n to m units multiplies the squared gradient norm by χ₁·m/n.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> chi1(1.0, activation("relu"), weight_var=2.0)
        1.0

    References:
        Schoenholz et al. 2017, Deep information propagation.
    """
    if isinstance(q, np.ndarray) or isinstance(weight_var, np.ndarray):
        require_all_non_negative("chi1", "weight_var", np.asarray(weight_var, dtype=np.float64), _WEIGHT)
        return weight_var * derivative_second_moment(act, np.asarray(q, dtype=np.float64))
    _require_variances("chi1", q, weight_var, 0.0)
    return weight_var * derivative_second_moment(act, q)


def chi(c: float, q: float, act: Activation, weight_var: float) -> float:
    """Returns χ(c) = σ_w² E φ′(√q z₁) φ′(√q z₂): the slope of the covariance map at correlation c.

    Args:
        c: Correlation of the preactivations, in [-1, 1].
        q: Their common variance, above 0.
        act: The activation φ.
        weight_var: σ_w² = fan_in·Var W.

    Returns:
        The slope; `chi1` at c = 1.

    Raises:
        InputError: if an argument is out of its range.

    Validity:
        As for `q_map`.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> round(chi(0.0, 1.0, activation("relu"), weight_var=2.0), 12)
        0.5

    References:
        Schoenholz et al. 2017, Deep information propagation, equation (9).
    """
    require_within("chi", "c", c, -1, 1, "Divide the covariance by the variance.")
    require_positive("chi", "q", q, _Q)
    _require_variances("chi", q, weight_var, 0.0)
    if c == 1:
        return chi1(q, act, weight_var)
    if act.slopes is not None:
        left, right = act.slopes
        same = 0.25 + math.asin(c) / (2 * math.pi)
        return weight_var * ((left**2 + right**2) * same + 2 * left * right * (0.5 - same))
    function, kinks = scaled(act, act.derivative, q)
    return weight_var * gaussian_pair_expectation(function, function, c, kinks=kinks)


def _pair_moment(act: Activation, q: float, c: float) -> float:
    """E φ(√q z₁) φ(√q z₂) at correlation c < 1."""
    if act.slopes is None:
        function, kinks = scaled(act, act.function, q)
        return gaussian_pair_expectation(function, function, c, kinks=kinks)
    left, right = act.slopes
    sine, angle = math.sqrt((1 - c) * (1 + c)), math.acos(c)
    same = (sine + c * (math.pi - angle)) / (2 * math.pi)
    opposite = (sine - c * angle) / (2 * math.pi)
    return q * ((left**2 + right**2) * same - 2 * left * right * opposite)


def _require_variances(operation: str, q: float, weight_var: float, bias_var: float) -> None:
    require_non_negative(operation, "q", q, _Q)
    require_positive(operation, "weight_var", weight_var, _WEIGHT)
    require_non_negative(operation, "bias_var", bias_var, _BIAS)
