"""Where the mean-field maps come to rest, how fast they get there, and the edge of chaos."""

from __future__ import annotations

import math
from typing import NamedTuple

from gainstage.errors import InputError
from gainstage.numerics import bracketed_root, require_non_negative, require_positive
from gainstage.theory.activations import Activation
from gainstage.theory.meanfield import c_map, chi, chi1, q_map, q_map_slope
from gainstage.theory.moments import derivative_second_moment, second_moment

# A variance beyond these counts as vanished or exploded: rounding hides whether it still moves.
_SMALLEST, _LARGEST = 1e-10, 1e9
_STEP = 1.5
_SMALL = 1e-7
_BIAS = "Give the variance of the biases, 0 without them."


class CriticalPoint(NamedTuple):
    """A point on the edge of chaos.

    Attributes:
        weight_var: σ_w² = fan_in·Var W.
        q_star: The fixed point of the variance there.
    """

    weight_var: float
    q_star: float


def q_fixed_point(act: Activation, weight_var: float, bias_var: float = 0.0, *, start: float = 1.0) -> float:
    """Returns q*, where the variance of a deep network's preactivations comes to rest.

    The nearest root of q = `q_map`(q) in the direction in which the map moves ``start``, which is where
    iteration of an increasing map ends.

    Args:
        act: The activation φ.
        weight_var: σ_w² = fan_in·Var W.
        bias_var: σ_b² = Var b.
        start: Variance to start from; returned where every variance is a fixed point (ReLU at σ_w² = 2).

    Returns:
        q*; 0 where the signal dies out, infinity where it grows without bound (beyond 1e9).

    Raises:
        InputError: if an argument is out of its range.

    Validity:
        As for `q_map`; E φ(√q z)² must increase with q, as it does for every activation of the registry.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> round(q_fixed_point(activation("tanh"), 1.76096, 0.05), 3)
        0.57
        >>> q_fixed_point(activation("relu"), 2.1)
        inf

    References:
        Poole et al. 2016, Exponential expressivity in deep neural networks through transient chaos.
    """
    require_positive("q_fixed_point", "start", start, "Give the variance of the first preactivation.")

    def excess(q: float) -> float:
        return q_map(q, act, weight_var, bias_var) - q

    first = excess(start)
    if abs(first) <= 1e-12 * start:
        return start
    step = _STEP if first > 0 else 1 / _STEP
    here = start
    while _SMALLEST < here < _LARGEST:
        there = here * step
        if (excess(there) > 0) != (first > 0):
            return bracketed_root(excess, here, there)
        here = there
    return math.inf if first > 0 else 0.0


def c_fixed_point(act: Activation, weight_var: float, bias_var: float = 0.0) -> float:
    """Returns c*, where the correlation of two inputs comes to rest at q*.

    c* = 1 where χ₁ ≤ 1. Otherwise it is the other root of c = `c_map`(c) in [0, 1): the map is a power series
    with no negative coefficients, so there is just one.

    Args:
        act: The activation φ.
        weight_var: σ_w² = fan_in·Var W.
        bias_var: σ_b² = Var b.

    Returns:
        The stable correlation, in [0, 1].

    Raises:
        InputError: if an argument is out of its range, or the variance dies out or explodes.

    Validity:
        As for `q_map`.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> tanh = activation("tanh")
        >>> c_fixed_point(tanh, 1.3, 0.05), round(c_fixed_point(tanh, 4.0, 0.05), 4)
        (1.0, 0.1651)

    References:
        Poole et al. 2016; Schoenholz et al. 2017, Deep information propagation.
    """
    q = _living_fixed_point("c_fixed_point", act, weight_var, bias_var)
    slope = chi1(q, act, weight_var)
    if slope <= 1 + 1e-9:
        return 1.0
    if c_map(0.0, q, act, weight_var, bias_var) < 1e-14:
        return 0.0

    # Divided by 1 - c, so that the root at c = 1, which is always there, is gone; its limit is 1 - χ₁.
    def excess(c: float) -> float:
        return 1 - slope if c == 1 else (c_map(c, q, act, weight_var, bias_var) - c) / (1 - c)

    return bracketed_root(excess, 0.0, 1.0, tolerance=1e-12)


def depth_scale_q(act: Activation, weight_var: float, bias_var: float = 0.0) -> float:
    """Returns ξ_q: the layers in which a deviation of the variance from q* falls by a factor e.

    1/ξ_q = -ln(χ₁ + σ_w² E[φ″φ]), the slope of the q-map at q*.

    Args:
        act: The activation φ.
        weight_var: σ_w² = fan_in·Var W.
        bias_var: σ_b² = Var b.

    Returns:
        The depth scale in layers; infinite where deviations do not fall.

    Raises:
        InputError: if an argument is out of its range, or the variance dies out or explodes.

    Validity:
        Small deviations, infinite width.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> round(depth_scale_q(activation("tanh"), 1.76096, 0.05), 2)
        1.52

    References:
        Schoenholz et al. 2017, Deep information propagation, equation (8).
    """
    q = _living_fixed_point("depth_scale_q", act, weight_var, bias_var)
    return _depth_scale(q_map_slope(q, act, weight_var))


def depth_scale_c(act: Activation, weight_var: float, bias_var: float = 0.0) -> float:
    """Returns ξ_c = -1/ln χ(c*): the layers in which a deviation of the correlation from c* falls by e.

    Args:
        act: The activation φ.
        weight_var: σ_w² = fan_in·Var W.
        bias_var: σ_b² = Var b.

    Returns:
        The depth scale in layers; infinite on the edge of chaos.

    Raises:
        InputError: if an argument is out of its range, or the variance dies out or explodes.

    Validity:
        Small deviations, infinite width. Networks up to about 6 ξ_c deep can be trained.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> round(depth_scale_c(activation("tanh"), 1.3, 0.05), 1)
        7.8

    References:
        Schoenholz et al. 2017, Deep information propagation, equation (9).
    """
    q = _living_fixed_point("depth_scale_c", act, weight_var, bias_var)
    return _depth_scale(chi(c_fixed_point(act, weight_var, bias_var), q, act, weight_var))


def critical_point(act: Activation, bias_var: float = 0.0) -> CriticalPoint:
    """Returns the point of the edge of chaos with the given bias variance: χ₁ = 1 at the fixed point q*.

    With σ_w² = 1/E φ′(√q z)² the fixed point obeys q - E φ²/E φ′² = σ_b², which is solved for the smallest q.

    Args:
        act: The activation φ.
        bias_var: σ_b² = Var b.

    Returns:
        σ_w² and q*. For (leaky) ReLU every variance is a fixed point at σ_b² = 0, and q* = 1 is returned.

    Raises:
        InputError: if bias_var is negative or not finite, or there is no such point.

    Validity:
        As for `q_map`. At σ_b² = 0 many have q* = 0, which is approached slowly, like 1/depth.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> weight_var, q_star = critical_point(activation("tanh"), 0.05)
        >>> round(weight_var, 4), round(q_star, 3)
        (1.761, 0.57)

    References:
        Schoenholz et al. 2017; Hayou et al. 2019, On the impact of the activation function on deep neural
        networks training.
    """
    require_non_negative("critical_point", "bias_var", bias_var, _BIAS)

    def excess(q: float) -> float:
        return q - second_moment(act, q) / derivative_second_moment(act, q) - bias_var

    if act.slopes is not None:
        if bias_var > 0:
            raise InputError(
                f"critical_point: bias_var must be 0 for {act}, the only critical one, got {bias_var!r}. "
                "Initialize the biases to 0."
            )
        return CriticalPoint(1 / derivative_second_moment(act), 1.0)
    if bias_var == 0 and act.slope_at_zero != 0 and second_moment(act, 0.0) == 0 and excess(1e-6) > -1e-16:
        return CriticalPoint(act.slope_at_zero**-2, 0.0)
    here = _SMALL
    while excess(_SMALL) < 0 and here < _LARGEST:
        if excess(here * _STEP) >= 0:
            q_star = bracketed_root(excess, here, here * _STEP)
            return CriticalPoint(1 / derivative_second_moment(act, q_star), q_star)
        here *= _STEP
    raise InputError(
        f"critical_point: bias_var must be one at which {act} has an edge of chaos, got {bias_var!r}. "
        "Judge it by chi1 at its own q."
    )


def preserving_weight_var(act: Activation) -> float:
    """Returns the σ_w² = fan_in·Var W that carries a signal of unit scale through depth.

    - Rectifiers (`Activation.is_rectifier`): 1/E φ², which keeps variance 1; 2/(1 + a²) for leaky ReLU.
    - All others: 1/φ′(0)², the edge of chaos without biases: 1 for identity, tanh, hardtanh and softsign. A
      deep tanh network at 1/E φ² = 2.54 keeps variance 1, but is chaotic: gradients grow 18 % a layer.

    Args:
        act: The activation φ.

    Returns:
        The weight variance.

    Raises:
        InputError: if φ vanishes or is not finite.

    Validity:
        Weights without biases. For sigmoid and hardsigmoid (16 and 36) it is that of the centred function
        φ - ½, the factor 4 in std over tanh: it holds where the mean is taken away, by a normalization or a
        bias of -½ΣW. As it stands the mean of ½ acts like a bias variance of σ_w²/4 and puts the network in
        the ordered phase (χ₁ = 0.40 for sigmoid); Glorot's σ_w² ≈ 1 is for one hidden layer or two.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> [round(preserving_weight_var(activation(name)), 6) for name in ("relu", "tanh", "gelu")]
        [2.0, 1.0, 2.351716]

    References:
        Glorot and Bengio 2010; He et al. 2015; Hayou et al. 2019.
    """
    if act.is_rectifier or act.slope_at_zero == 0:
        moment = second_moment(act)
        if moment == 0:
            raise InputError(f"preserving_weight_var: {act} must not vanish, got E φ² = 0. Use another activation.")
        return 1 / moment
    return act.slope_at_zero**-2


def _living_fixed_point(operation: str, act: Activation, weight_var: float, bias_var: float) -> float:
    q = q_fixed_point(act, weight_var, bias_var)
    if not 0 < q < math.inf:
        raise InputError(
            f"{operation}: weight_var and bias_var must give a positive, finite q*, got q* = {q:g} for {act} "
            f"at {weight_var!r} and {bias_var!r}. Take a point nearer to the edge of chaos."
        )
    return q


def _depth_scale(slope: float) -> float:
    if slope <= 0:
        return 0.0
    return math.inf if slope >= 1 - 1e-9 else -1 / math.log(slope)
