"""Backwards: the predicted gradient of each layer, and what batch normalization does to it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gainstage.errors import InputError
from gainstage.numerics import gaussian_expectation, require_non_negative, require_positive
from gainstage.theory.activations import Activation
from gainstage.theory.finite_width import (
    Layer,
    Level,
    State,
    band,
    bias_share,
    forward_states,
    in_range,
    log_slope,
    square_scatter,
)
from gainstage.theory.meanfield import c_map, chi
from gainstage.theory.moments import derivative_moment, derivative_second_moment, mean, scaled, second_moment


def gradient_band(
    input_second_moment: float,
    layers: Sequence[Layer],
    *,
    output_grad_rms: float = 1.0,
    z_score: float = 3.0,
) -> tuple[Level, ...]:
    """Returns the predicted rms of ∂L/∂h for each layer's preactivations h, with its band of finite width.

    From layer l + 1 to l the mean square of the gradient is multiplied by E φ_l′(√q_l z)²·σ_w²·fan_out/fan_in
    of the map between them, which is χ₁ between layers of equal width; the squared norm is multiplied by χ₁
    where fan_out/fan_in is the ratio of the widths. Each factor scatters with (3 E φ′⁴/(E φ′²)² - 1)/n_l: 5/n
    for ReLU, 2/n for a linear map. Where φ′ depends on q, the scatter of q forwards comes on top, to first
    order and with its correlations.

    Args:
        input_second_moment: Mean square of the first layer's inputs; it sets where each φ′ is taken.
        layers: In execution order; `Layer.fan_ratio` is the ratio of that layer's own map.
        output_grad_rms: rms of the gradient with respect to the last layer's preactivations.
        z_score: Half the band's width in standard deviations.

    Returns:
        One level a layer, in the unit of ``output_grad_rms``; the last is that value itself.

    Raises:
        InputError: if there is no layer, or an argument is out of its range.

    Validity:
        As for `propagate`, with weights taken as independent backwards and forwards, and a gradient at the
        output that does not depend on the last weights.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> layers = [Layer(100, activation("relu"), weight_var=1.0)] * 3
        >>> [round(level.rms, 6) for level in gradient_band(1.0, layers)]
        [0.5, 0.707107, 1.0]

    References:
        Schoenholz et al. 2017, Deep information propagation; Hanin 2018, Which neural net architectures give
        rise to exploding and vanishing gradients?
    """
    operation = "gradient_band"
    require_non_negative(operation, "input_second_moment", input_second_moment, "Give E x².")
    rms = require_positive(operation, "output_grad_rms", output_grad_rms, "Give the gradient's rms at the output.")
    require_positive(operation, "z_score", z_score, "Give standard deviations, such as 3.")
    if not layers:
        raise InputError(f"{operation}: layers must have at least one entry, got none. Give one Layer per map.")
    square, sampled, above = rms * rms, State(1.0), 0.0
    levels = [Level(rms, rms, rms)]
    states = forward_states(input_second_moment, layers)
    for index in range(len(layers) - 2, -1, -1):
        layer, q = layers[index], states[index]
        above *= bias_share(states[index + 1], layers[index + 1])
        sampled = _sampled(sampled, layer, q.square, above)
        above = derivative_log_slope(layer.activation, q.square) + above * log_slope(layer.activation, q.square)
        slope = derivative_moment(layer.activation, in_range(q.square), 2)
        square *= slope * layers[index + 1].weight_var * _fan_ratio(layers[index + 1], layer)
        drift, variance = sampled.drift + above * q.drift, sampled.variance + above**2 * q.variance
        levels.append(band(square, drift, variance, z_score))
    return tuple(reversed(levels))


def batch_norm_gradient_factor(act: Activation, batch_size: int | None = None) -> float:
    """Returns the growth of the squared gradient norm per layer of linear map, batch norm and activation.

    For large batches E φ′²/Var φ at unit variance: π/(π - 1) = 1.467 for ReLU, 1 for a linear network. For
    B samples, with c = -1/(B - 1) and φ piecewise linear through 0,

        ((B - 1) E φ′² + E φ′(z₁)φ′(z₂) - E φ² + E φ(z₁)φ(z₂)) / ((B - 3)(E φ² - E φ(z₁)φ(z₂)))

    over standard normal z₁, z₂ of correlation c, which is (B - 2)/(B - 3) for a linear network.

    Args:
        act: The activation φ behind each batch norm.
        batch_size: B, values per statistic, at least 4; None for the limit of large batches.

    Returns:
        The factor. It cannot be tuned away by weight_var, which the normalization removes.

    Raises:
        InputError: if batch_size is below 4, or given for an activation not piecewise linear through 0.

    Validity:
        No skip connections, width far above B, samples that differ, and layers deep enough that their
        similarities have come to rest. The bottom layer is left out: its inputs were not activated.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> round(batch_norm_gradient_factor(activation("relu")), 5)
        1.46694
        >>> batch_norm_gradient_factor(activation("identity"), batch_size=5)
        1.5

    References:
        Yang et al. 2019, A mean field theory of batch normalization.
    """
    operation = "batch_norm_gradient_factor"
    if batch_size is None:
        spread = second_moment(act) - mean(act) ** 2
        if spread <= 1e-14:
            raise InputError(f"{operation}: {act} must not be constant, got Var φ = {spread:.3g}. Use another.")
        return derivative_second_moment(act) / spread
    if batch_size < 4:
        raise InputError(
            f"{operation}: batch_size must be at least 4, got {batch_size!r}. "
            "Use a larger batch: below 4 the mean squared gradient does not exist."
        )
    if act.slopes is None:
        raise InputError(
            f"{operation}: activation must be piecewise linear for a batch_size, got {act}. Leave batch_size out."
        )
    c = -1 / (batch_size - 1)
    own, slope = second_moment(act), derivative_second_moment(act)
    other = own * c_map(c, 1.0, act, 1.0)
    growth = (batch_size - 1) * slope + chi(c, 1.0, act, 1.0) - own + other
    return growth / ((batch_size - 3) * (own - other))


def derivative_log_slope(act: Activation, q: float) -> float:
    """Returns d ln E φ′(√q z)²/d ln q, by a central difference: how a gradient feels the scale of the signal.

    Args:
        act: The activation φ.
        q: Variance of the preactivation.

    Returns:
        The slope: 0 for (leaky) ReLU, towards -1/2 for a saturated φ.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> derivative_log_slope(activation("relu"), 3.0)
        0.0
    """
    if act.slopes is not None:
        return 0.0
    at, step = in_range(q), 1e-4
    ends = [derivative_moment(act, at * math.exp(sign * step), 2) for sign in (-1, 1)]
    return math.log(ends[1] / ends[0]) / (2 * step) if min(ends) > 0 else 0.0


def derivative_scatter(act: Activation, q: float) -> float:
    """Returns E φ′⁴/(E φ′²)² - 1: n times the relative variance of the mean of n squared derivatives.

    Args:
        act: The activation φ.
        q: Variance of the preactivation.

    Returns:
        The excess, 0 where φ′ vanishes.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> derivative_scatter(activation("relu"), 1.0)
        1.0
    """
    slope = derivative_moment(act, in_range(q), 2)
    return derivative_moment(act, in_range(q), 4) / slope**2 - 1 if slope > 0 else 0.0


def shared_scatter(act: Activation, q: float) -> float:
    """Returns E φ²φ′²/(E φ² E φ′²) - 1: n times the covariance of the means of φ² and φ′² over n units.

    Args:
        act: The activation φ.
        q: Variance of the preactivation.

    Returns:
        The covariance, relative to both means; negative where a large φ goes with a small slope.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> round(shared_scatter(activation("relu"), 1.0), 12)
        1.0
    """
    at = in_range(q)
    slope, square = derivative_moment(act, at, 2), second_moment(act, at)
    if slope == 0 or square == 0:
        return 0.0
    product, kinks = scaled(act, lambda z: (act.function(z) * act.derivative(z)) ** 2, at)
    return gaussian_expectation(product, kinks=kinks) / (slope * square) - 1


def _sampled(below: State, layer: Layer, q: float, above: float) -> State:
    """Adds the scatter of one layer's n units: of φ′² u² here, and of φ² as the layers above feel it.

    Both are means over the same units, and correlated: a large |h| has a large tanh² and a small slope.
    """
    act, at = layer.activation, in_range(q)
    slope, square = derivative_moment(act, at, 2), second_moment(act, at)
    if slope == 0 or square == 0:
        return below
    gradient = 3 * derivative_moment(act, at, 4) / slope**2 - 1
    activation = square_scatter(act, q)
    variance = gradient
    if above:
        variance += 2 * above * shared_scatter(act, q) + above**2 * activation
    drift = (gradient + above * activation) / 2
    return State(1.0, below.drift - drift / layer.width, below.variance + variance / layer.width)


def _fan_ratio(above: Layer, layer: Layer) -> float:
    return above.width / layer.width if above.fan_ratio is None else above.fan_ratio
