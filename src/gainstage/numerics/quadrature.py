"""Adaptive Gauss-Legendre quadrature over panels, vectorised over the panels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gainstage.errors import InputError

FloatArray = npt.NDArray[np.float64]
Elementwise = Callable[[FloatArray], FloatArray]

_LEGENDRE = np.polynomial.legendre.leggauss(16)
NODES: FloatArray = np.asarray(_LEGENDRE[0], dtype=np.float64)
WEIGHTS: FloatArray = np.asarray(_LEGENDRE[1], dtype=np.float64)

# A panel that straddles a jump of f halves its error with each bisection: 50 of them reach rounding.
_MAX_BISECTIONS = 50
_MAX_PANELS = 20_000


@dataclass(frozen=True)
class Integral:
    """Value of an integral, and the ends of the panels on which the integrand was smooth.

    Attributes:
        value: The integral.
        edges: Ends of the accepted panels, ascending, each once.
    """

    value: float
    edges: tuple[float, ...]


def panel_integrals(function: Elementwise, lows: FloatArray, highs: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Returns ∫f and an estimate of ∫|f| over each panel, by 16 Gauss-Legendre nodes.

    Args:
        function: Elementwise; it is called once, with an array (panels, 16).
        lows: Lower ends, shape (panels,).
        highs: Upper ends, shape (panels,).

    Returns:
        Two arrays of shape (panels,).

    Example:
        >>> integral, _ = panel_integrals(np.square, np.array([0.0, 1.0]), np.array([1.0, 2.0]))
        >>> [round(float(value), 12) for value in integral * 3]
        [1.0, 7.0]
    """
    half = (highs - lows) / 2
    points = (highs + lows)[:, None] / 2 + half[:, None] * NODES
    # A callable may overflow on its way to a finite value (1/(1+exp(-z))); only the outcome counts.
    with np.errstate(all="ignore"):
        values = function(points)
    return half * (values @ WEIGHTS), half * (np.abs(values) @ WEIGHTS)


def adaptive_integral(
    function: Elementwise, breakpoints: tuple[float, ...], *, tolerance: float = 1e-13, scale: float = 0.0
) -> Integral:
    """Returns ∫f between the first and the last breakpoint.

    Each panel is compared with its two halves, and halved again until both agree to ``tolerance`` times the
    larger of ∫|f| and ``scale``. The halves are what is summed: the error is far below the difference.

    Args:
        function: Elementwise numpy callable, piecewise smooth.
        breakpoints: Ascending; kinks and jumps of f should be among them.
        tolerance: Largest difference of a panel from its halves, relative to ∫|f|.
        scale: Smallest magnitude that the tolerance refers to, for an integrand that is all cancellation.

    Returns:
        The value and the mesh that it took.

    Raises:
        InputError: if f is not finite, or too rough to be integrated with 20,000 panels.

    Validity:
        A spike between the nodes of the first panels is not seen, nor a jump within 0.5 % of a panel's end:
        put breakpoints there.

    Example:
        >>> round(adaptive_integral(np.abs, (-1.0, 0.0, 2.0)).value, 12)
        2.5
    """
    ends = np.unique(np.asarray(breakpoints, dtype=np.float64))
    lows, highs = ends[:-1], ends[1:]
    coarse, magnitude = panel_integrals(function, lows, highs)
    limit = tolerance * max(float(np.sum(magnitude)), scale)
    total, edges = 0.0, [ends]
    for bisection in range(_MAX_BISECTIONS + 1):
        middles = (lows + highs) / 2
        left, _ = panel_integrals(function, lows, middles)
        right, _ = panel_integrals(function, middles, highs)
        fine = left + right
        if not (np.all(np.isfinite(fine)) and np.all(np.isfinite(coarse))):
            raise InputError(
                "integrate: function must be finite, got NaN or infinity. Write it so that large |z| cannot overflow."
            )
        rough = np.abs(fine - coarse) > limit
        if bisection == _MAX_BISECTIONS:
            rough[:] = False
        total += float(np.sum(fine[~rough]))
        if not rough.any():
            break
        if 2 * int(rough.sum()) > _MAX_PANELS:
            raise InputError(
                f"integrate: function must be piecewise smooth, got one that takes {_MAX_PANELS} panels. "
                "Check that it is deterministic and elementwise."
            )
        edges.append(middles[rough])
        lows, highs = (
            np.concatenate([lows[rough], middles[rough]]),
            np.concatenate([middles[rough], highs[rough]]),
        )
        coarse = np.concatenate([left[rough], right[rough]])
    return Integral(total, tuple(np.unique(np.concatenate(edges)).tolist()))
