"""Where an elementwise function, or a derivative of it, jumps: found by looking, where nobody declared it.

A panel on which the function is not a polynomial of degree 15 to eleven digits is halved until it is narrow;
what is still rough then holds a kink, which is closed in on until rounding hides it. The parts of a panel
overlap: a kink near the end of one, where no node of it lies beyond, is in the middle of another.
"""

from __future__ import annotations

import math

import numpy as np

from gainstage.errors import InputError
from gainstage.numerics.quadrature import NODES, WEIGHTS, Elementwise, FloatArray

_NARROW = 2.0**-6
_ROUGH = 1e-11
_ROUNDING = 64 * float(np.finfo(np.float64).eps)
_MAX_PANELS = 4096
# Row k gives the Legendre coefficient c_k of a function sampled at the nodes.
_POWERS = np.polynomial.legendre.legvander(NODES, 15)
_ANALYSIS: FloatArray = (_POWERS * WEIGHTS[:, None]).T * (np.arange(16)[:, None] + 0.5)


def find_kinks(function: Elementwise, *, reach: float = 64.0) -> tuple[float, ...]:
    """Returns the points where a function, or its first or second derivative, jumps.

    A jump or a change of slope is placed to about 1e-11, a jump of the second derivative to 1e-5: the smoother,
    the less its place matters to an integral that is split there. Of higher derivatives not all are found.

    Args:
        function: Elementwise numpy callable, float64 in and out, of any shape.
        reach: Points with |z| ≤ reach are searched.

    Returns:
        The kinks, ascending. A smooth bend far narrower than 1/64 counts as one; of two kinks nearer to each
        other than about that, one is found.

    Raises:
        InputError: if reach is not positive and finite.

    Validity:
        Deterministic functions with at most some dozens of kinks; one that is rough everywhere (noise, a
        fractal) gives none. What is not finite is taken for 0. An isolated value, as sign(0), is no kink.

    Example:
        >>> [round(kink, 9) for kink in find_kinks(lambda z: np.clip(z, -1.0, 0.3))]
        [-1.0, 0.3]
        >>> find_kinks(np.tanh)
        ()
    """
    if not (math.isfinite(reach) and reach > 0):
        raise InputError(f"find_kinks: reach must be positive and finite, got {reach!r}. Give the largest |z|.")
    panels, scale = _first_panels(reach), _size_near_zero(function)
    narrow = list[tuple[float, float]]()
    while panels.size:
        if len(panels) > _MAX_PANELS:
            return ()
        regions = _regions(panels[_roughness(function, panels, scale) > _ROUGH])
        narrow += [(low, high) for low, high, width in regions if width <= _NARROW]
        panels = np.array([part for region in regions if region[2] > _NARROW for part in _covered(*region)])
    # Parts of the first panels overlap too, and may have held the same kink.
    found = {_closed_in(function, low, high, scale) for low, high, _ in _regions(np.array(narrow))}
    return tuple(sorted(kink for kink in found if abs(kink) <= reach))


def _first_panels(reach: float) -> FloatArray:
    """Panels that overlap by half, of width 1 near zero and growing outwards; shape (panels, 2)."""
    half = [0.0]
    while half[-1] < reach:
        half.append(half[-1] + max(0.5, half[-1] / 16))
    ends = np.array([*(-end for end in reversed(half[1:])), *half])
    # Round numbers, where kinks like to be, are put inside the panels.
    return np.stack([ends[:-2] - 0.0371, ends[2:] + 0.0429], axis=1)


def _size_near_zero(function: Elementwise) -> float:
    return float(np.max(np.abs(_finite(function, np.linspace(-2.03, 2.07, 64)))))


def _regions(panels: FloatArray) -> list[tuple[float, float, float]]:
    """Low end, high end and narrowest panel of each stretch of panels that overlap each other."""
    joined = list[tuple[float, float, float]]()
    for low, high in sorted(panels.tolist()):
        if joined and low < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], high), min(joined[-1][2], high - low))
        else:
            joined.append((low, high, high - low))
    return joined


def _covered(low: float, high: float, width: float) -> list[tuple[float, float]]:
    """Panels of half the width that cover a region and overlap by half."""
    count = max(3, math.ceil(4 * (high - low) / width) - 1)
    step = (high - low) / (count + 1)
    return [(low + index * step, low + (index + 2) * step) for index in range(count)]


def _roughness(function: Elementwise, panels: FloatArray, scale: float) -> FloatArray:
    """The last four Legendre coefficients of f on each panel, relative to f there (or near zero, if larger).

    The two floors keep what is rounding, as of log(1 + exp(z)) at z = -30, from counting as roughness.
    """
    half, middle = (panels[:, 1] - panels[:, 0]) / 2, (panels[:, 1] + panels[:, 0]) / 2
    values = _finite(function, middle[:, None] + half[:, None] * NODES)
    size = np.maximum(np.max(np.abs(values), axis=1), max(scale, 1e-300))
    return np.max(np.abs(values @ _ANALYSIS.T)[:, 12:], axis=1) / size


def _closed_in(function: Elementwise, low: float, high: float, scale: float) -> float:
    """The roughest part again and again, until all are as smooth as rounding lets them be."""
    while high - low > 4 * np.spacing(max(abs(low), abs(high), 1e-3)):
        parts = np.array(_covered(low, high, high - low))
        roughness = _roughness(function, parts, scale)
        roughest = int(np.argmax(roughness))
        if roughness[roughest] < _ROUNDING:
            break
        low, high = parts[roughest].tolist()
    # Of the points that rounding cannot tell apart, the one with the fewest digits: kinks sit at round numbers.
    for digits in range(13):
        near = round((low + high) / 2, digits)
        if low <= near <= high:
            return near + 0.0
    return (low + high) / 2


def _finite(function: Elementwise, z: FloatArray) -> FloatArray:
    with np.errstate(all="ignore"):
        values = np.asarray(function(z), dtype=np.float64)
    return np.where(np.isfinite(values), values, 0.0)
