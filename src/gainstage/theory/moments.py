"""Gaussian moments of an activation, and the gains that follow from them."""

from __future__ import annotations

import math
from typing import overload

import numpy as np

from gainstage.errors import InputError
from gainstage.numerics import (
    Elementwise,
    FloatArray,
    gaussian_expectation,
    require_non_negative,
    scaled_expectation,
)
from gainstage.theory.activations import Activation

_VARIANCE = "Give the variance of the preactivation."


@overload
def mean(act: Activation, q: float = 1.0) -> float: ...
@overload
def mean(act: Activation, q: FloatArray) -> FloatArray: ...
def mean(act: Activation, q: float | FloatArray = 1.0) -> float | FloatArray:
    """Returns E φ(√q z) for z ~ N(0, 1).

    Args:
        act: The activation φ.
        q: Variance of the preactivation, at least 0; an array gives an array.

    Returns:
        The mean of the activation, in the unit of φ.

    Raises:
        InputError: if q is negative or not finite, or φ is not finite.

    Validity:
        Preactivations that are normal with mean 0: wide layers with independent, centred weights.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> round(mean(activation("relu")), 6)
        0.398942
    """
    if isinstance(q, np.ndarray):
        require_all_non_negative("mean", "q", q, _VARIANCE)
        if act.slopes is not None:
            return (act.slopes[1] - act.slopes[0]) * np.sqrt(q / (2 * math.pi))
        return scaled_expectation(act.function, np.sqrt(q), kinks=act.kinks)
    require_non_negative("mean", "q", q, _VARIANCE)
    if act.slopes is not None:
        left, right = act.slopes
        return (right - left) * math.sqrt(q / (2 * math.pi))
    function, kinks = scaled(act, act.function, q)
    return gaussian_expectation(function, kinks=kinks)


@overload
def second_moment(act: Activation, q: float = 1.0) -> float: ...
@overload
def second_moment(act: Activation, q: FloatArray) -> FloatArray: ...
def second_moment(act: Activation, q: float | FloatArray = 1.0) -> float | FloatArray:
    """Returns E φ(√q z)² for z ~ N(0, 1).

    Args:
        act: The activation φ.
        q: Variance of the preactivation, at least 0; an array gives an array.

    Returns:
        The mean square of the activation.

    Raises:
        InputError: if q is negative or not finite, or φ is not finite.

    Validity:
        As for `mean`.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> round(second_moment(activation("tanh")), 6)
        0.394294
    """
    if isinstance(q, np.ndarray):
        require_all_non_negative("second_moment", "q", q, _VARIANCE)
        if act.slopes is not None:
            return q * _half_sum(act.slopes, 2)
        return scaled_expectation(lambda h: act.function(h) ** 2, np.sqrt(q), kinks=act.kinks)
    require_non_negative("second_moment", "q", q, _VARIANCE)
    if act.slopes is not None:
        return q * _half_sum(act.slopes, 2)
    return _power_moment(act, act.function, q, 2)


def fourth_moment(act: Activation, q: float = 1.0) -> float:
    """Returns E φ(√q z)⁴ for z ~ N(0, 1): how far a layer of n units scatters about `second_moment`.

    Args:
        act: The activation φ.
        q: Variance of the preactivation, at least 0.

    Returns:
        The mean fourth power of the activation.

    Raises:
        InputError: if q is negative or not finite, or φ is not finite.

    Validity:
        As for `mean`.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> fourth_moment(activation("relu"))
        1.5
    """
    require_non_negative("fourth_moment", "q", q, _VARIANCE)
    if act.slopes is not None:
        return 3 * q * q * _half_sum(act.slopes, 4)
    return _power_moment(act, act.function, q, 4)


@overload
def derivative_second_moment(act: Activation, q: float = 1.0) -> float: ...
@overload
def derivative_second_moment(act: Activation, q: FloatArray) -> FloatArray: ...
def derivative_second_moment(act: Activation, q: float | FloatArray = 1.0) -> float | FloatArray:
    """Returns E φ′(√q z)² for z ~ N(0, 1); at q = 0 its limit, φ′(0)².

    Args:
        act: The activation φ.
        q: Variance of the preactivation, at least 0; an array gives an array.

    Returns:
        The mean square of the derivative.

    Raises:
        InputError: if q is negative or not finite, or φ′ is not finite.

    Validity:
        As for `mean`; for a callable without declared kinks see `activation_of`.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> derivative_second_moment(activation("relu"))
        0.5
    """
    if isinstance(q, np.ndarray):
        require_all_non_negative("derivative_second_moment", "q", q, _VARIANCE)
        found = scaled_expectation(lambda h: act.derivative(h) ** 2, np.sqrt(q), kinks=act.kinks)
        return np.where(q == 0, derivative_moment(act, 0.0, 2), found)
    require_non_negative("derivative_second_moment", "q", q, _VARIANCE)
    return derivative_moment(act, q, 2)


def derivative_moment(act: Activation, q: float, power: int) -> float:
    """Returns E φ′(√q z)ᵖ for z ~ N(0, 1); at q = 0 its limit from above.

    Args:
        act: The activation φ.
        q: Variance of the preactivation, at least 0.
        power: p, even.

    Returns:
        The moment.

    Raises:
        InputError: if φ′ is not finite.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> derivative_moment(activation("tanh"), 0.0, 4)
        1.0
    """
    if act.slopes is not None:
        return _half_sum(act.slopes, power)
    if q == 0:
        return _half_sum(act.slopes_at_zero, power)
    return _power_moment(act, act.derivative, q, power)


def he_gain(act: Activation) -> float:
    """Returns (E φ²)^(-1/2) at unit variance: with weight_var = gain² the preactivation keeps variance 1.

    Args:
        act: The activation φ.

    Returns:
        The gain; std W = gain/√fan_in.

    Raises:
        InputError: if φ vanishes or is not finite.

    Validity:
        Unit variance only, unless φ is (leaky) ReLU. It keeps the variance, not the gradient: see
        `chi1_at_he_gain`.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> round(he_gain(activation("gelu")), 6)
        1.53353

    References:
        He et al. 2015, Delving deep into rectifiers.
    """
    return _positive("he_gain", "E φ²", second_moment(act)) ** -0.5


def nf_gain(act: Activation) -> float:
    """Returns (Var φ)^(-1/2) at unit variance: the gain of normalizer-free networks.

    Args:
        act: The activation φ.

    Returns:
        The gain that gives gain·φ(z) variance 1.

    Raises:
        InputError: if φ is constant or not finite.

    Validity:
        Weights whose rows have mean 0 (scaled weight standardization), which remove the mean of φ.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> round(nf_gain(activation("relu")), 6)
        1.712859

    References:
        Brock et al. 2021, Characterizing signal propagation in unnormalized ResNets.
    """
    return _positive("nf_gain", "Var φ", second_moment(act) - mean(act) ** 2) ** -0.5


def chi1_at_he_gain(act: Activation) -> float:
    """Returns E φ′²/E φ² at unit variance: the growth of squared gradients per layer at the He gain.

    Args:
        act: The activation φ.

    Returns:
        The factor χ₁; 1 for (leaky) ReLU and identity alone.

    Raises:
        InputError: if φ vanishes or is not finite.

    Validity:
        Layers of equal width whose preactivations have variance 1.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> round(chi1_at_he_gain(activation("gelu")), 3)
        1.072

    References:
        Schoenholz et al. 2017, Deep information propagation.
    """
    return derivative_second_moment(act) / _positive("chi1_at_he_gain", "E φ²", second_moment(act))


def scaled(act: Activation, function: Elementwise, q: float) -> tuple[Elementwise, tuple[float, ...]]:
    """Returns z → f(√q z), and where a quadrature over z should split it.

    Args:
        act: The activation whose kinks f has.
        function: φ itself, its derivative, or a function of them.
        q: Variance, at least 0.

    Returns:
        The function and its breakpoints in z.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> relu6 = activation("relu6")
        >>> scaled(relu6, relu6.function, 4.0)[1]
        (0.0, 3.0, -0.5, 0.5)
    """
    root = math.sqrt(q)
    if root == 0:
        return (lambda z: function(0.0 * z)), ()
    # At large q a smooth φ turns within 1/√q of zero, between the first nodes of a panel of width 1.
    turns = [4.0**power / root for power in range(40) if 4.0**power < root]
    kinks = (*(kink / root for kink in act.kinks), *(-turn for turn in turns), *turns)
    return (lambda z: function(root * z)), kinks


def require_all_non_negative(operation: str, name: str, values: FloatArray, next_step: str) -> None:
    """Raises unless every entry of an array is finite and at least 0.

    Args:
        operation: The public function, as the user knows it.
        name: The argument.
        values: What was given.
        next_step: One sentence that says what to hand in instead.

    Raises:
        InputError: with the first entry that is not.

    Example:
        >>> require_all_non_negative("q_map", "q", np.array([0.0, 2.0]), "Give variances.")
    """
    wrong = values[~(np.isfinite(values) & (values >= 0))]
    if wrong.size:
        require_non_negative(operation, name, float(wrong[0]), next_step)


def _half_sum(slopes: tuple[float, float], power: int) -> float:
    return (slopes[0] ** power + slopes[1] ** power) / 2


def _power_moment(act: Activation, function: Elementwise, q: float, power: int) -> float:
    at_scale, kinks = scaled(act, function, q)
    return gaussian_expectation(lambda z: at_scale(z) ** power, kinks=kinks)


def _positive(operation: str, name: str, value: float) -> float:
    # Var φ of a constant is rounding, of either sign.
    if value > 1e-14:
        return value
    raise InputError(f"{operation}: {name} must be positive, got {value:.3g}. Use an activation that is not constant.")
