"""Backwards through stages at infinite width: the mean square of a gradient, and what two samples share."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from gainstage.numerics import gaussian_expectation, gaussian_pair_expectation
from gainstage.theory.activations import Activation
from gainstage.theory.finite_width import in_range
from gainstage.theory.gradients import derivative_scatter
from gainstage.theory.meanfield import c_map, chi
from gainstage.theory.moments import derivative_moment, scaled, second_moment
from gainstage.theory.signals import Signal, spread
from gainstage.theory.stages import Activate, Affine, Dropout, Norm, Stage


@dataclass(frozen=True)
class Cotangent:
    """A gradient ∂L/∂x with respect to the units of one place in a network.

    Attributes:
        own: Mean square, over units.
        cross: Mean product of the gradients of two samples, at the same unit.
        radial: Mean of (x ∂L/∂x)²/E x², and of that product of two samples: what a batch norm takes away. None
            where the gradient does not depend on x: own, and cross times the correlation of x.
        kurtosis: E g⁴/(E g²)²; 3 below an affine map.
    """

    own: float
    cross: float = 0.0
    radial: tuple[float, float] | None = None
    kurtosis: float = 3.0

    def times(self, factor: float) -> Cotangent:
        """The gradient whose squares are ``factor`` times as large."""
        radial = None if self.radial is None else (factor * self.radial[0], factor * self.radial[1])
        return Cotangent(factor * self.own, factor * self.cross, radial, self.kurtosis)

    def plus(self, other: Cotangent) -> Cotangent:
        """The sum of two that are independent of each other."""
        own = self.own + other.own
        share = other.own / own if 0 < own < math.inf else 0.0
        kurtosis = (1 - share) ** 2 * self.kurtosis + share**2 * other.kurtosis + 6 * share * (1 - share)
        return Cotangent(own, self.cross + other.cross, None, kurtosis)


def pulled_back(stage: Stage, before: Signal, after: Signal, gradient: Cotangent) -> Cotangent:
    """Returns the gradient with respect to what enters a stage; of a residual block, see `predict`.

    Args:
        stage: `Affine`, `Activate`, `Norm` or `Dropout`.
        before: The signal that enters it.
        after: The signal that leaves it.
        gradient: With respect to what leaves it.

    Returns:
        - affine: times σ_w² fan_out/fan_in;
        - activation: times E φ′², and in common times E φ′(z₁)φ′(z₂);
        - batch norm: the projection off the constants and off the normalized values, divided by the variance,
          whose inverse has the mean B/((B - 3) Var) over B samples;
        - layer and group norm over m units: times (m - 2)/((m - 3) Var); rms norm: (m - 1)/((m - 2) E x²);
        - dropout: divided by keep, while what samples share stays.

    Validity:
        Gradients independent of the weights they pass, from a loss that treats samples alike.

    Example:
        >>> relu_input = Signal(64, square=1.0, gaussian=True)
        >>> from gainstage.theory.registry import activation
        >>> pulled_back(Activate(activation("relu")), relu_input, relu_input, Cotangent(1.0)).own
        0.5

    References:
        Yang et al. 2019, A mean field theory of batch normalization; Schoenholz et al. 2017.
    """
    if isinstance(stage, Affine):
        ratio = stage.width / before.width if stage.fan_ratio is None else stage.fan_ratio
        return Cotangent(gradient.own, gradient.cross).times(stage.weight_var * ratio)
    if isinstance(stage, Activate):
        return _through_activation(stage.activation, before, gradient)
    if isinstance(stage, Norm):
        return _through_norm(stage, before, after, gradient)
    if isinstance(stage, Dropout):
        radial = None if gradient.radial is None else (gradient.radial[0] / stage.keep, gradient.radial[1])
        return Cotangent(gradient.own / stage.keep, gradient.cross, radial, gradient.kurtosis / stage.keep)
    raise TypeError(f"pulled_back: stage must not be a {type(stage).__name__}")


def _through_activation(act: Activation, before: Signal, gradient: Cotangent) -> Cotangent:
    q, c = in_range(before.square), before.correlation
    own = gradient.own * derivative_moment(act, q, 2)
    kurtosis = gradient.kurtosis * (1 + derivative_scatter(act, q))
    function, kinks = scaled(act, lambda h: h * act.derivative(h), q)
    if act.slopes is not None:
        radial = gradient.own * second_moment(act)
    else:
        radial = gradient.own * gaussian_expectation(lambda z: function(z) ** 2, kinks=kinks) / q
    if gradient.cross == 0:
        return Cotangent(own, 0.0, (radial, 0.0), kurtosis)
    if act.slopes is not None:  # z φ′(z) is φ itself
        shared = second_moment(act) * c_map(c, 1.0, act, 1.0)
    else:
        shared = gaussian_pair_expectation(function, function, c, kinks=kinks) / q
    return Cotangent(own, gradient.cross * chi(c, q, act, 1.0), (radial, gradient.cross * shared), kurtosis)


def _through_norm(stage: Norm, before: Signal, after: Signal, gradient: Cotangent) -> Cotangent:
    factor, count = stage.scale**2 / spread(stage, before), stage.values(before.width)
    if stage.kind != "batch":
        # Moments of 1/χ²: of normal values only.
        taken = 1 if stage.kind == "rms" else 2
        finite = (count - taken) / (count - taken - 1) if before.gaussian else 1.0
        return replace(gradient, radial=None).times(factor * finite)
    radial = gradient.radial or (gradient.own, gradient.cross * after.correlation)
    if stage.batch_size is None:
        own = factor * max(gradient.own - gradient.cross - radial[1], 0.0)
        return Cotangent(own, kurtosis=gradient.kurtosis)
    others = count - 1
    left = gradient.own - (gradient.own + others * gradient.cross + radial[0] + others * radial[1]) / count
    own = factor * max(left, 0.0) * count / (count - 3)
    return Cotangent(own, -own / others, kurtosis=gradient.kurtosis)
