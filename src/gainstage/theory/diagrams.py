"""The pictures of mean-field theory as arrays: phase diagram, depth scales, maps of variance and correlation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gainstage.errors import InputError
from gainstage.numerics import FloatArray
from gainstage.theory.activations import Activation
from gainstage.theory.fixed_points import critical_point, depth_scale_c, depth_scale_q, q_fixed_point
from gainstage.theory.meanfield import c_map, chi1, q_map
from gainstage.theory.moments import derivative_second_moment, second_moment

# Beyond these a variance has died out or grown without bound.
_SMALLEST, _LARGEST = 1e-10, 1e9
_SWEEPS = 600


@dataclass(frozen=True)
class PhaseDiagram:
    """χ₁ over the plane of weight and bias variance, with the edge of chaos.

    Attributes:
        weight_var: σ_w², shape (columns,).
        bias_var: σ_b², shape (rows,).
        q_star: Where the variance of a deep network ends, from 1; shape (rows, columns), within 1e-10 and 1e9.
        chi1: Growth of the squared gradient a layer there: below 1 ordered, above 1 chaotic; likewise.
        edge: σ_w² and σ_b² of points on the edge, shape (points, 2); empty where none is reached from 1.
    """

    weight_var: FloatArray
    bias_var: FloatArray
    q_star: FloatArray
    chi1: FloatArray
    edge: FloatArray


@dataclass(frozen=True)
class DepthScales:
    """Depth scales along a line of constant bias variance.

    Attributes:
        weight_var: σ_w².
        correlation: ξ_c in layers, of the same shape; infinite on the edge, NaN where there is no fixed point.
        variance: ξ_q in layers, likewise.
        edge: σ_w² of the edge of chaos; NaN where none is reached from a variance of 1.
    """

    weight_var: FloatArray
    correlation: FloatArray
    variance: FloatArray
    edge: float


def phase_diagram(act: Activation, weight_var: npt.ArrayLike, bias_var: npt.ArrayLike) -> PhaseDiagram:
    """Returns χ₁ = σ_w² E φ′(√q* z)² over a grid of σ_w² and σ_b², with the line where it is 1.

    Args:
        act: The activation φ.
        weight_var: σ_w² = fan_in·Var W, ascending, shape (columns,).
        bias_var: σ_b² = Var b, ascending, shape (rows,).

    Returns:
        The diagram. q* is iterated from 1 on a table of E φ² over ln q (to 1e-3 off the edge, where iteration
        is slow); points of the edge are exact, see `critical_point`.

    Raises:
        InputError: if a variance is out of its range.

    Validity:
        As for `q_map`. For (leaky) ReLU the variance grows without bound on the edge line unless σ_b² = 0: its
        one critical point is the foot of the line.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> diagram = phase_diagram(activation("tanh"), [1.0, 2.0, 3.0], [0.05, 0.5])
        >>> (diagram.chi1 > 1).tolist()
        [[False, True, True], [False, False, True]]

    References:
        Poole et al. 2016; Schoenholz et al. 2017, Deep information propagation, figure 1.
    """
    weights, biases = _axis("phase_diagram", "weight_var", weight_var), _axis("phase_diagram", "bias_var", bias_var)
    grid = np.log(np.geomspace(_SMALLEST, _LARGEST, 2000))
    # A zero of φ at the origin would have no logarithm.
    table = np.log(np.maximum(second_moment(act, np.exp(grid)), 1e-300))
    q = np.ones((biases.size, weights.size))
    for _ in range(_SWEEPS):
        after = weights * np.exp(np.interp(np.log(q), grid, table)) + biases[:, None]
        after = np.clip(after, _SMALLEST, _LARGEST)
        still = np.max(np.abs(after / q - 1)) < 1e-9
        q = after
        if still:
            break
    q = np.clip(q_map(q, act, weights, biases[:, None]), _SMALLEST, _LARGEST)
    return PhaseDiagram(weights, biases, q, chi1(q, act, weights), _edge(act, weights, biases))


def depth_scales(act: Activation, weight_var: npt.ArrayLike, bias_var: float = 0.0) -> DepthScales:
    """Returns ξ_c and ξ_q for each σ_w².

    Args:
        act: The activation φ.
        weight_var: σ_w² = fan_in·Var W, shape (points,).
        bias_var: σ_b² = Var b.

    Returns:
        The scales, in layers.

    Raises:
        InputError: if a variance is out of its range.

    Validity:
        As for `depth_scale_c`.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> depth_scales(activation("tanh"), [1.3, 4.0], 0.05).correlation.round(1).tolist()
        [7.8, 7.0]

    References:
        Schoenholz et al. 2017, Deep information propagation, figures 2 and 5.
    """
    weights = _axis("depth_scales", "weight_var", weight_var)
    found = np.full((2, weights.size), math.nan)
    for index, weight in enumerate(weights.tolist()):
        if 0 < q_fixed_point(act, weight, bias_var) < math.inf:
            found[:, index] = depth_scale_c(act, weight, bias_var), depth_scale_q(act, weight, bias_var)
    edge = _reached_edge(act, bias_var)
    return DepthScales(weights, found[0], found[1], math.nan if edge is None else edge)


def q_map_curves(act: Activation, q: npt.ArrayLike, weight_var: npt.ArrayLike, bias_var: float = 0.0) -> FloatArray:
    """Returns q′ over q, one curve for each σ_w².

    Args:
        act: The activation φ.
        q: Variances, shape (points,).
        weight_var: σ_w², shape (curves,).
        bias_var: σ_b².

    Returns:
        Shape (curves, points). A curve meets q′ = q in the fixed points.

    Raises:
        InputError: if a variance is out of its range.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> q_map_curves(activation("relu"), [1.0, 2.0], [1.0, 2.0]).tolist()
        [[0.5, 1.0], [1.0, 2.0]]
    """
    weights = _axis("q_map_curves", "weight_var", weight_var)
    return q_map(_axis("q_map_curves", "q", q), act, weights[:, None], bias_var)


def c_map_curves(act: Activation, c: npt.ArrayLike, weight_var: npt.ArrayLike, bias_var: float = 0.0) -> FloatArray:
    """Returns c′ over c at the fixed point q*, one curve for each σ_w².

    Args:
        act: The activation φ.
        c: Correlations in [-1, 1], shape (points,).
        weight_var: σ_w², shape (curves,).
        bias_var: σ_b².

    Returns:
        Shape (curves, points); NaN for a curve whose variance dies out or explodes.

    Raises:
        InputError: if an argument is out of its range.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> c_map_curves(activation("relu"), [0.0, 1.0], [2.0]).round(4).tolist()
        [[0.3183, 1.0]]
    """
    weights, points = _axis("c_map_curves", "weight_var", weight_var), np.asarray(c, dtype=np.float64)
    curves = np.full((weights.size, points.size), math.nan)
    for index, weight in enumerate(weights.tolist()):
        q = q_fixed_point(act, weight, bias_var)
        if 0 < q < math.inf:
            curves[index] = [c_map(one, q, act, weight, bias_var) for one in points.tolist()]
    return curves


def _edge(act: Activation, weights: FloatArray, biases: FloatArray) -> FloatArray:
    if act.slopes is not None:
        critical = 1 / derivative_second_moment(act)
        return np.array([[critical, biases[0]], [critical, biases[-1]]])
    points = list[tuple[float, float]]()
    # Closer together at the foot, where the line turns.
    for bias in (biases[0] + (biases[-1] - biases[0]) * np.linspace(0, 1, 41) ** 2).tolist():
        weight = _reached_edge(act, bias)
        if weight is not None and weights[0] <= weight <= weights[-1]:
            points.append((weight, bias))
    return np.array(points).reshape(-1, 2)


def _reached_edge(act: Activation, bias_var: float) -> float | None:
    """σ_w² of the critical point, if its q* is where a variance of 1 ends: not so for GELU and its like."""
    try:
        weight_var, q_star = critical_point(act, bias_var)
    except InputError:  # it has none at this bias variance
        return None
    reached = q_fixed_point(act, weight_var, bias_var)
    return weight_var if math.isclose(reached, q_star, rel_tol=1e-3, abs_tol=1e-6) else None


def _axis(operation: str, name: str, values: npt.ArrayLike) -> FloatArray:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or found.size == 0:
        raise InputError(f"{operation}: {name} must be a list of numbers, got shape {found.shape}. Give one or more.")
    return found
