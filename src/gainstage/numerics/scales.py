"""Gaussian expectations of one function at many scales at once."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from gainstage.errors import InputError
from gainstage.numerics.gaussian import PANELS, RANGE, density
from gainstage.numerics.quadrature import NODES, WEIGHTS, Elementwise, FloatArray

# Panels that grow by this factor away from z = 0, where a function turns that is stretched by a large scale.
_STRETCH = 2.0 ** np.arange(-34, 0)
_ROWS = 64


def scaled_expectation(function: Elementwise, scales: FloatArray, *, kinks: Iterable[float] = ()) -> FloatArray:
    """Returns E f(s z) for z ~ N(0, 1) and each scale s.

    Gauss-Legendre quadrature on panels that end at the kinks as they lie for each scale, and shrink towards
    z = 0 by factors of 2, so that a function that turns near zero is resolved at any scale up to 1e10.

    Args:
        function: Elementwise numpy callable, float64 in and out, of any shape.
        scales: Of any shape, at least 0.
        kinks: Points where f or a derivative of it jumps (as of `find_kinks`).

    Returns:
        An array of the shape of scales, to 1e-10 of E|f| for functions as smooth as the usual activations:
        the mesh is fixed, where `gaussian_expectation` refines it.

    Raises:
        InputError: if a scale is negative or not finite, or f is not finite.

    Validity:
        As for `gaussian_expectation`, with features of f no narrower than 0.3.

    Example:
        >>> scaled_expectation(np.square, np.array([0.0, 1.0, 3.0])).round(9).tolist()
        [0.0, 1.0, 9.0]
    """
    flat = np.asarray(scales, dtype=np.float64).reshape(-1)
    if not np.all(np.isfinite(flat) & (flat >= 0)):
        raise InputError("scaled_expectation: scales must be finite and at least 0. Give standard deviations.")
    marks = np.array([float(kink) for kink in kinks])
    parts = [_rows(function, flat[start : start + _ROWS], marks) for start in range(0, flat.size, _ROWS)]
    found = np.concatenate(parts) if parts else flat
    if not np.all(np.isfinite(found)):
        raise InputError(
            "scaled_expectation: function must be finite, got NaN or infinity. Use smaller scales, or write it so "
            "that large |z| cannot overflow."
        )
    return found.reshape(np.shape(scales))


def _rows(function: Elementwise, scales: FloatArray, kinks: FloatArray) -> FloatArray:
    # Only as far in as the largest of these scales needs.
    smallest = 0.25 / max(float(scales.max()), 1.0)
    needed = _STRETCH[np.searchsorted(_STRETCH, smallest) :]
    fixed = np.concatenate([PANELS, needed, -needed])
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        moving = kinks / scales[:, None]
    ends = np.concatenate([np.broadcast_to(fixed, (scales.size, fixed.size)), moving], axis=1)
    ends = np.sort(np.clip(np.nan_to_num(ends), -RANGE, RANGE), axis=1)
    half = (ends[:, 1:] - ends[:, :-1]) / 2
    z = (ends[:, 1:] + ends[:, :-1])[:, :, None] / 2 + half[:, :, None] * NODES
    with np.errstate(all="ignore"):
        values = function(scales[:, None, None] * z) * density(z)
    return np.sum((values @ WEIGHTS) * half, axis=1)
