"""Activations as the theory sees them: a function, its derivative, its kinks and its plateaus."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gainstage.errors import InputError
from gainstage.numerics import Elementwise, FloatArray, find_kinks

SATURATED_SLOPE = 0.05
_FAR = 1e3
# Eighth order: the truncation of tanh(5z), of ninth derivative 1e10, and rounding are then both below 1e-11.
_STEP = 0.005
_CENTRAL = (672.0, -168.0, 32.0, -3.0)
_SCAN = np.geomspace(1e-4, 1e4, 3201)


@dataclass(frozen=True)
class Activation:
    """An elementwise function φ with what its moments need.

    Attributes:
        name: In the registry, or of the callable.
        function: φ, on float64 arrays of any shape.
        derivative: φ′, likewise; its value at a kink does not matter.
        kinks: Points where φ or a derivative of it jumps, ascending.
        lower, upper: Plateaus: what φ tends to as z → -∞ and z → +∞; infinite where it has none.
        slopes: (a₋, a₊) of φ(z) = a₋ z below 0 and a₊ z above, or None. Such functions are positively
            homogeneous, and have their moments in closed form.
        parameters: What it was made with, by name.
    """

    name: str
    function: Elementwise
    derivative: Elementwise
    kinks: tuple[float, ...] = ()
    lower: float = -math.inf
    upper: float = math.inf
    slopes: tuple[float, float] | None = None
    parameters: tuple[tuple[str, float], ...] = ()

    def __str__(self) -> str:
        inside = ", ".join(f"{name}={value:g}" for name, value in self.parameters)
        return f"{self.name}({inside})" if inside else self.name

    @property
    def is_bounded(self) -> bool:
        """Whether φ has a plateau on both sides."""
        return math.isfinite(self.lower) and math.isfinite(self.upper)

    @cached_property
    def is_rectifier(self) -> bool:
        """Whether φ lets one sign pass and damps the other.

        True where the slopes at z = ±1000 differ by more than 1 %, or φ vanishes for all z < 0 (ReLU6).
        """
        left, right = (float(value) for value in np.abs(_quiet(self.derivative, np.array([-_FAR, _FAR]))))
        blocks = not np.any(_quiet(self.function, np.array([-_FAR, -10.0, -1.0, -0.1, -1e-3])))
        return blocks or abs(left - right) > 0.01 * max(left, right, 1.0)

    @cached_property
    def slope_at_zero(self) -> float:
        """φ′(0); the root mean square of both one-sided slopes where 0 is a kink."""
        left, right = self.slopes_at_zero
        return left if left == right else math.copysign(math.sqrt((left**2 + right**2) / 2), left + right)

    @cached_property
    def slopes_at_zero(self) -> tuple[float, float]:
        """φ′(0-) and φ′(0+), extrapolated from points beside 0 where 0 is a kink."""
        if 0.0 not in self.kinks:
            slope = float(_quiet(self.derivative, np.zeros(1))[0])
            return slope, slope
        near, far = _quiet(self.derivative, np.array([[-1e-7, 1e-7], [-2e-7, 2e-7]]))
        left, right = (2 * near - far).tolist()
        return left, right

    @cached_property
    def saturation_point(self) -> float:
        """The |z| beyond which |φ′| stays below 5 % of its maximum; infinite unless φ is bounded."""
        if not self.is_bounded:
            return math.inf

        def slope(z: FloatArray) -> FloatArray:
            return np.maximum(np.abs(_quiet(self.derivative, z)), np.abs(_quiet(self.derivative, -z)))

        steepest = max(float(np.max(slope(_SCAN))), *map(abs, self.slopes_at_zero))
        limit = SATURATED_SLOPE * steepest
        steep = np.flatnonzero(slope(_SCAN) >= limit)
        if steep.size == 0 or steep[-1] == _SCAN.size - 1:
            return math.inf
        # Bisection rather than a root finder: the slope of a clipped function jumps across the limit.
        inside, outside = float(_SCAN[steep[-1]]), float(_SCAN[steep[-1] + 1])
        for _ in range(50):
            middle = (inside + outside) / 2
            if float(slope(np.array([middle]))[0]) >= limit:
                inside = middle
            else:
                outside = middle
        return outside


def activation_of(function: Callable[[FloatArray], FloatArray], kinks: Iterable[float] | None = None) -> Activation:
    """Returns an `Activation` made of any elementwise numpy callable.

    The derivative is a central difference of eighth order whose step shrinks towards a kink, so that it never
    reads across one. Plateaus are read off at |z| = 10⁶.

    Args:
        function: φ, float64 in and out, of any shape.
        kinks: Points where φ or a derivative of it jumps; None to have those with |z| ≤ 64 found by
            `find_kinks`. The difference smears a kink that is left out over 0.04.

    Returns:
        The activation, named after the callable.

    Raises:
        InputError: if a kink is not finite, or the callable does not return an array of its input's shape.

    Validity:
        Features of φ wider than 0.1, or scaled so: moments of φ and of φ′ are then right to 1e-10. φ at z ± 0.02
        must be finite wherever φ(z) is.

    Example:
        >>> squared = activation_of(lambda z: np.maximum(z, 0.0) ** 2)
        >>> squared.kinks, round(float(squared.derivative(np.array([1.5]))[0]), 9)
        ((0.0,), 3.0)
    """
    ends = () if kinks is None else tuple(sorted(float(kink) for kink in kinks))
    if not all(math.isfinite(end) for end in ends):
        raise InputError(f"activation_of: kinks must be finite, got {ends!r}. Leave out what is not a kink.")
    probe = np.array([[-1e6, -5e5], [5e5, 1e6]])
    values = _quiet(function, probe)
    if np.shape(values) != probe.shape:
        raise InputError(
            f"activation_of: function must be elementwise, got shape {np.shape(values)} for {probe.shape}. "
            "Write it with numpy operations."
        )
    ends = find_kinks(function) if kinks is None else ends
    (lower, lower_half), (upper_half, upper) = values.tolist()
    return Activation(
        name=getattr(function, "__name__", type(function).__name__),
        function=function,
        derivative=_difference(function, ends),
        kinks=ends,
        lower=lower if abs(lower - lower_half) < 1e-3 else -math.inf,
        upper=upper if abs(upper - upper_half) < 1e-3 else math.inf,
    )


def _difference(function: Elementwise, kinks: tuple[float, ...]) -> Elementwise:
    ends = np.array(kinks, dtype=np.float64)

    def derivative(z: FloatArray) -> FloatArray:
        z = np.asarray(z, dtype=np.float64)
        step = np.full(z.shape, _STEP) * np.maximum(1.0, np.abs(z) / 100)
        for end in ends:
            step = np.minimum(step, np.abs(z - end) / 5)
        step = np.maximum(step, 1e-14)
        total = np.zeros_like(z)
        for k, weight in enumerate(_CENTRAL, start=1):
            total += weight * (function(z + k * step) - function(z - k * step))
        return total / (840 * step)

    return derivative


def _quiet(function: Elementwise, z: FloatArray) -> FloatArray:
    with np.errstate(all="ignore"):
        return np.asarray(function(z), dtype=np.float64)
