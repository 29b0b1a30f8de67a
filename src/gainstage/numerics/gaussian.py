"""Expectations of elementwise functions under one and under two standard normal variables.

Plain Gauss-Hermite quadrature is the usual tool and a trap: with 64 nodes it has the *mean* of ReLU wrong by
0.65 %, since the kink at 0 lies inside its one panel. Here the range is split at kinks, and halved where the
integrand is rough.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from gainstage.errors import InputError
from gainstage.numerics.arguments import require_within
from gainstage.numerics.kinks import find_kinks
from gainstage.numerics.quadrature import (
    NODES,
    WEIGHTS,
    Elementwise,
    FloatArray,
    adaptive_integral,
)

# exp(-12²/2) = 5e-32: what lies beyond is below rounding for anything that grows like a power of z.
RANGE = 12.0
_HALF = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, RANGE)
PANELS = (*(-end for end in reversed(_HALF)), 0.0, *_HALF)
_ROWS = 512


def density(z: FloatArray) -> FloatArray:
    """Returns the standard normal density exp(-z²/2)/√(2π), elementwise.

    Args:
        z: Of any shape.

    Returns:
        An array of the same shape.

    Example:
        >>> round(float(density(np.array(0.0))), 6)
        0.398942
    """
    return np.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def gaussian_expectation(function: Elementwise, *, kinks: Iterable[float] | None = None) -> float:
    """Returns E f(z) for z ~ N(0, 1).

    E f(z) = ∫ f(z) exp(-z²/2)/√(2π) dz, by adaptive composite Gauss-Legendre quadrature over |z| ≤ 12.

    Args:
        function: Elementwise numpy callable, float64 in and out, of any shape.
        kinks: Points where f or a derivative of it jumps; None to have them found by `find_kinks`. One that is
            left out of a list may cost 1e-6, and a jump of f 1e-3.

    Returns:
        The expectation, to 1e-10 of E|f(z)|.

    Raises:
        InputError: if a kink or a value of f is not finite, or f is not piecewise smooth.

    Validity:
        f must grow more slowly than exp(z²/2); a feature much narrower than 0.01 needs a kink beside it.

    Example:
        >>> round(gaussian_expectation(lambda z: np.maximum(z, 0.0)), 10)
        0.3989422804
    """
    breakpoints = _breakpoints("gaussian_expectation", find_kinks(function, reach=RANGE) if kinks is None else kinks)
    return adaptive_integral(lambda z: function(z) * density(z), breakpoints).value


def gaussian_pair_expectation(
    f: Elementwise, g: Elementwise, correlation: float, *, kinks: Iterable[float] | None = None
) -> float:
    """Returns E f(z₁) g(z₂) for standard normal z₁, z₂ with the given correlation.

    z₂ = c z₁ + √(1-c²) w with independent w: the inner expectation over w is split at the kinks of g as they
    lie for each z₁, the outer one is adaptive. At c = ±1 the integral is the one-dimensional E f(z) g(±z).

    Args:
        f: Elementwise numpy callable of z₁.
        g: Elementwise numpy callable of z₂.
        correlation: c in [-1, 1].
        kinks: Points where f or g, or a derivative, jumps; None to have them found by `find_kinks`.

    Returns:
        The expectation, to 1e-10 of E|f| E|g|.

    Raises:
        InputError: if the correlation is outside [-1, 1], or a kink or value is not finite.

    Validity:
        As for `gaussian_expectation`.

    Example:
        >>> round(gaussian_pair_expectation(np.sin, np.sin, 0.5), 10)  # sinh(c)/e
        0.1917002498
    """
    operation = "gaussian_pair_expectation"
    c = require_within(
        operation, "correlation", correlation, -1, 1, "Divide the covariance by both standard deviations."
    )
    marks = _kinks_of(f, g) if kinks is None else tuple(kinks)
    breakpoints = _breakpoints(operation, marks)
    if abs(c) == 1:
        return gaussian_expectation(lambda z: f(z) * g(c * z), kinks=(*breakpoints, *(c * end for end in breakpoints)))
    if c == 0:
        return gaussian_expectation(f, kinks=breakpoints) * gaussian_expectation(g, kinks=breakpoints)
    # √((1-c)(1+c)) keeps its digits near c = 1, where 1 - c² cancels.
    spread = math.sqrt((1 - c) * (1 + c))
    features = _features(g, marks)

    def outer(z: FloatArray) -> FloatArray:
        return f(z) * _conditional_mean(g, c * z, spread, features) * density(z)

    # The conditional mean turns sharply, over a width of √(1-c²), where c z₁ passes a feature of g.
    with np.errstate(over="ignore"):
        turns = (features[:, None] + spread * _graded(spread)).ravel() / c
    # Odd functions of nearly independent variables cancel: without a floor it would refine rounding errors.
    scale = gaussian_expectation(lambda z: np.abs(f(z)), kinks=marks) * gaussian_expectation(
        lambda z: np.abs(g(z)), kinks=marks
    )
    return adaptive_integral(outer, (*breakpoints, *turns[np.abs(turns) < RANGE].tolist()), scale=scale).value


def _kinks_of(f: Elementwise, g: Elementwise) -> tuple[float, ...]:
    found = find_kinks(f, reach=RANGE)
    return found if g is f else (*found, *find_kinks(g, reach=RANGE))


def _breakpoints(operation: str, kinks: Iterable[float]) -> tuple[float, ...]:
    inside = [float(kink) for kink in kinks]
    if not all(math.isfinite(kink) for kink in inside):
        raise InputError(f"{operation}: kinks must be finite, got {inside!r}. Leave out what is not a kink.")
    return tuple(sorted({*PANELS, *(kink for kink in inside if abs(kink) < RANGE)}))


def _graded(spread: float) -> FloatArray:
    """0, ±4, ±16, ... as long as they stay within 1 in units of the spread: panels that grow from a turn."""
    steps = [4.0**power for power in range(1, 30) if spread * 4.0**power < 1]
    return np.array([0.0, *steps, *(-step for step in steps)])


def _features(g: Elementwise, kinks: tuple[float, ...]) -> FloatArray:
    """Where g needs finer panels than a Gaussian: its kinks, and what the adaptive mesh had to refine."""
    # Shifted, so that an undeclared kink at a round number does not hide on the end of a panel.
    shifted = {-RANGE, RANGE, *(end + 0.0371 for end in PANELS[1:-1]), *(k for k in kinks if abs(k) < RANGE)}
    mesh = adaptive_integral(lambda z: g(z) * density(z), tuple(sorted(shifted))).edges
    return np.array(sorted((set(mesh) - shifted) | {k for k in kinks if abs(k) < RANGE}))


def _conditional_mean(g: Elementwise, centre: FloatArray, spread: float, features: FloatArray) -> FloatArray:
    """E g(centre + spread·w) for each centre, with panels that end at the features of g."""
    flat = centre.reshape(-1)
    parts = [_mean_of_rows(g, flat[start : start + _ROWS], spread, features) for start in range(0, flat.size, _ROWS)]
    return np.concatenate(parts).reshape(centre.shape)


def _mean_of_rows(g: Elementwise, centre: FloatArray, spread: float, features: FloatArray) -> FloatArray:
    fixed = np.broadcast_to(np.asarray(PANELS), (centre.size, len(PANELS)))
    moving = np.clip((features - centre[:, None]) / spread, -RANGE, RANGE)
    ends = np.sort(np.concatenate([fixed, moving], axis=1), axis=1)
    half = (ends[:, 1:] - ends[:, :-1]) / 2
    w = (ends[:, 1:] + ends[:, :-1])[:, :, None] / 2 + half[:, :, None] * NODES
    values = g(centre[:, None, None] + spread * w) * density(w)
    return np.sum((values @ WEIGHTS) * half, axis=1)
