"""What finite width adds to mean field: the band in which a measured scale may lie.

A layer of n units estimates its mean square from n samples, so that ln of it scatters with variance
kurt/n, kurt = E φ⁴/(E φ²)² - 1 (5 for ReLU, 2 for a linear map). The next layer takes this for
its input: scatter adds up through depth, weighted by the slope d ln q′/d ln q of the map.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gainstage.errors import InputError
from gainstage.numerics import require_non_negative, require_positive
from gainstage.theory.activations import Activation
from gainstage.theory.meanfield import q_map_slope
from gainstage.theory.moments import fourth_moment, second_moment

# Kurtosis of a normal variable minus 1: a preactivation's own units, whatever activation follows.
LINEAR_SCATTER = 2.0


@dataclass(frozen=True)
class Layer:
    """An affine map and the activation behind it.

    Attributes:
        width: Number of preactivations that are independent of each other: units of a linear map, channels of
            a convolution (its positions share their weights; more of them narrow the band at most).
        activation: φ, `activation("identity")` for none.
        weight_var: σ_w² = fan_in·Var W.
        bias_var: σ_b² = Var b.
        fan_ratio: fan_out/fan_in of the map; None for a dense one: width over the width before.
    """

    width: float
    activation: Activation
    weight_var: float
    bias_var: float = 0.0
    fan_ratio: float | None = None

    def __post_init__(self) -> None:
        require_positive("Layer", "width", self.width, "Give the number of units or channels.")
        require_positive("Layer", "weight_var", self.weight_var, "Give fan_in times the variance of the weights.")
        require_non_negative("Layer", "bias_var", self.bias_var, "Give the variance of the biases, 0 without them.")
        if self.fan_ratio is not None:
            require_positive("Layer", "fan_ratio", self.fan_ratio, "Give fan_out/fan_in, or None.")


@dataclass(frozen=True)
class Level:
    """A predicted root mean square with its band.

    Attributes:
        rms: Of infinite width: √q.
        low, high: Ends of the band of finite width. Its middle lies below ``rms``: a mean square keeps its
            expectation, so that the logarithm falls as it scatters.
    """

    rms: float
    low: float
    high: float


@dataclass(frozen=True)
class State:
    """A mean square at one point of a network, and how its logarithm scatters.

    Attributes:
        square: The mean square at infinite width.
        drift: Mean of the logarithm, minus ln(square).
        variance: Variance of the logarithm.
    """

    square: float
    drift: float = 0.0
    variance: float = 0.0


def band(square: float, drift: float, variance: float, z_score: float) -> Level:
    """Returns √square · exp((drift ± z·√variance)/2).

    Args:
        square: Mean square of infinite width.
        drift: Mean of ln(mean square) minus ln(square).
        variance: Variance of ln(mean square).
        z_score: Half the band's width in standard deviations.

    Returns:
        The level.

    Example:
        >>> band(4.0, 0.0, 0.0, 3.0)
        Level(rms=2.0, low=2.0, high=2.0)
    """
    rms, reach = math.sqrt(square), z_score * math.sqrt(variance)
    return Level(rms, rms * math.exp((drift - reach) / 2), rms * math.exp((drift + reach) / 2))


def propagate(input_second_moment: float, layers: Sequence[Layer], *, z_score: float = 3.0) -> tuple[Level, ...]:
    """Returns the predicted rms of each layer's preactivations, with its band of finite width.

    q₁ = σ_w² E x² + σ_b², then q′ = σ_w² E φ(√q z)² + σ_b² from layer to layer. ln of the mean square
    scatters with variance v_h = v_q + 2/n, where v_q′ = (d ln q′/d ln q)² v_q + (1 - σ_b²/q′)² kurt(φ)/n.

    Args:
        input_second_moment: Mean square of the first layer's inputs.
        layers: In execution order.
        z_score: Half the band's width in standard deviations; 3 takes in 99.7 %.

    Returns:
        One level a layer. All three figures are 0 (infinite) from where the signal vanishes (overflows).

    Raises:
        InputError: if there is no layer, or an argument is out of its range.

    Validity:
        Widths of about 30 and more, weights and biases independent and centred; skip connections and
        normalizations are not in it. For one sample: the mean over a batch scatters less. The first order in
        1/n: beyond a variance of about 2 in the logarithm the band is a rough one.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> relu = activation("relu")
        >>> levels = propagate(1.0, [Layer(512, relu, weight_var=2.0)] * 10)
        >>> [round(figure, 2) for figure in (levels[-1].low, levels[-1].rms, levels[-1].high)]
        [0.88, 1.41, 2.18]

    References:
        Poole et al. 2016; Hanin and Rolnick 2018, How to start training: the effect of initialization and
        architecture.
    """
    square = require_non_negative("propagate", "input_second_moment", input_second_moment, "Give E x².")
    reach = _require_layers("propagate", layers, z_score)
    levels = list[Level]()
    for layer, q in zip(layers, forward_states(square, layers), strict=True):
        own = LINEAR_SCATTER / layer.width
        levels.append(band(q.square, q.drift - own / 2, q.variance + own, reach))
    return tuple(levels)


def log_q_variance(layers: Sequence[Layer], *, input_second_moment: float = 1.0) -> float:
    """Returns the variance of ln‖φ(h_L)‖² over initializations, to first order in 1/width.

    v ← s² v + kurt/n for each layer, with kurt = E φ⁴/(E φ²)² - 1 and s = d ln E φ²/d ln(mean square before).
    For ReLU without biases it is 5 Σ 1/n, for linear maps 2 Σ 1/n.

    Args:
        layers: In execution order.
        input_second_moment: Mean square of the first layer's inputs.

    Returns:
        The variance, dimensionless; half its root is the relative scatter of the rms.

    Raises:
        InputError: if there is no layer, or an argument is out of its range.

    Validity:
        As for `propagate`.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> round(log_q_variance([Layer(100, activation("relu"), weight_var=2.0)] * 4), 12)
        0.2

    References:
        Hanin and Rolnick 2018; Hanin 2018, Which neural net architectures give rise to exploding and
        vanishing gradients?
    """
    square = require_positive("log_q_variance", "input_second_moment", input_second_moment, "Give E x².")
    _require_layers("log_q_variance", layers, 1.0)
    return _activated(forward_states(square, layers)[-1], layers[-1]).variance


def forward_states(input_second_moment: float, layers: Sequence[Layer]) -> tuple[State, ...]:
    """Returns the variance q of each layer's preactivation, with its scatter from the layers below.

    Args:
        input_second_moment: Mean square of the first layer's inputs.
        layers: In execution order.

    Returns:
        One state a layer; its own units' scatter of 2/n is not in it.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> layers = [Layer(64, activation("relu"), weight_var=1.0)] * 3
        >>> [state.square for state in forward_states(1.0, layers)]
        [1.0, 0.5, 0.25]
    """
    state, found = State(input_second_moment), list[State]()
    for layer in layers:
        found.append(_mapped(state, layer))
        state = _activated(found[-1], layer)
    return tuple(found)


def in_range(q: float) -> float:
    """Returns q, clipped to [1e-60, 1e60]: relative figures are at their limits there, short of an overflow.

    Args:
        q: A variance.

    Returns:
        The variance at which to take ratios of moments.

    Example:
        >>> in_range(0.5), in_range(0.0)
        (0.5, 1e-60)
    """
    return min(max(q, 1e-60), 1e60)


def bias_share(state: State, layer: Layer) -> float:
    """Returns 1 - σ_b²/q: the share of a preactivation's variance that comes from its inputs.

    Args:
        state: Of the preactivation.
        layer: Whose it is.

    Returns:
        A share in [0, 1].

    Example:
        >>> from gainstage.theory.registry import activation
        >>> bias_share(State(4.0), Layer(64, activation("relu"), weight_var=2.0, bias_var=1.0))
        0.75
    """
    return 1 - layer.bias_var / state.square if 0 < state.square < math.inf else 1.0


def square_scatter(act: Activation, q: float) -> float:
    """Returns E φ⁴/(E φ²)² - 1: n times the relative variance of the mean square of n activations.

    Args:
        act: The activation φ.
        q: Variance of the preactivation.

    Returns:
        The excess, 0 where φ vanishes.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> square_scatter(activation("relu"), 1.0)
        5.0
    """
    square = second_moment(act, in_range(q))
    return fourth_moment(act, in_range(q)) / square**2 - 1 if square > 0 else 0.0


def log_slope(act: Activation, q: float) -> float:
    """Returns d ln E φ(√q z)²/d ln q: how much of a relative change of q gets through φ.

    Args:
        act: The activation φ.
        q: Variance of the preactivation.

    Returns:
        The slope: 1 for (leaky) ReLU, towards 0 for a saturated φ.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> log_slope(activation("relu"), 5.0)
        1.0
    """
    at = in_range(q)
    square = second_moment(act, at)
    return at * q_map_slope(at, act, 1.0) / square if square > 0 else 0.0


def _mapped(state: State, layer: Layer) -> State:
    """Through the affine map: a bias does not scatter, and damps what does by its share."""
    q = State(layer.weight_var * state.square + layer.bias_var)
    share = bias_share(q, layer)
    return State(q.square, share * state.drift, share**2 * state.variance)


def _activated(state: State, layer: Layer) -> State:
    """Through the activation: the mean square of n values φ(h) has the relative variance kurt/n."""
    act, q = layer.activation, state.square
    slope, scatter = log_slope(act, q), square_scatter(act, q) / layer.width
    # Beyond, φ² itself overflows: what is left of φ are its plateaus.
    square = second_moment(act, q) if q < 1e290 else max(act.lower**2, act.upper**2)
    return State(square, slope * state.drift - scatter / 2, slope**2 * state.variance + scatter)


def _require_layers(operation: str, layers: Sequence[Layer], z_score: float) -> float:
    if not layers:
        raise InputError(f"{operation}: layers must have at least one entry, got none. Give one Layer per map.")
    return require_positive(operation, "z_score", z_score, "Give standard deviations, such as 3.")
