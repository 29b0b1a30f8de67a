"""Confidence intervals: Student's t for paired differences, the BCa bootstrap for any statistic."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from gainstage.errors import InputError
from gainstage.numerics.arguments import require_positive, require_within
from gainstage.numerics.quadrature import NODES, WEIGHTS, FloatArray
from gainstage.numerics.roots import bracketed_root

_NORMAL = NormalDist()
_CONFIDENCE = "Give a probability such as 0.95."


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval.

    Attributes:
        mean: The estimate: the sample's mean, or its statistic for a bootstrap.
        low, high: Ends of the interval, in the unit of the estimate; infinite where one value tells nothing.
        n: How many values it was made from.
        confidence: Probability with which such intervals cover the true value.
    """

    mean: float
    low: float
    high: float
    n: int
    confidence: float

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside."""
        return self.low > 0 or self.high < 0


@lru_cache(maxsize=256)
def student_t_quantile(probability: float, degrees: float) -> float:
    """Returns t with P(T ≤ t) = probability for Student's t distribution.

    With t = √ν tan θ, P(T ≤ t) = ½ + Γ((ν+1)/2)/(√π Γ(ν/2)) ∫₀^θ cos^(ν-1) x dx, solved for θ.

    Args:
        probability: In (0, 1).
        degrees: Degrees of freedom ν > 0.

    Returns:
        The quantile, to 1e-9.

    Raises:
        InputError: if an argument is out of its range.

    Validity:
        Probabilities between 1e-6 and 1 - 1e-6, ν of at least 1.

    Example:
        >>> round(student_t_quantile(0.975, 4), 4)
        2.7764

    References:
        Student 1908, The probable error of a mean.
    """
    operation = "student_t_quantile"
    p = require_within(operation, "probability", probability, 0, 1, _CONFIDENCE, closed=False)
    nu = require_positive(operation, "degrees", degrees, "Two values have one degree of freedom.")
    if p == 0.5:
        return 0.0
    tail = abs(p - 0.5)
    factor = math.exp(math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2)) / math.sqrt(math.pi)

    def excess(angle: float) -> float:
        # Sixteen panels: cos^(ν-1) falls like a Gaussian over a small part of the angle's range.
        ends = np.linspace(0.0, angle, 17)
        half = angle / 32
        points = (ends[:-1] + half)[:, None] + half * NODES
        return factor * half * float(np.sum(np.cos(points) ** (nu - 1) @ WEIGHTS)) - tail

    angle = bracketed_root(excess, 0.0, _widest_angle(nu))
    return math.copysign(math.sqrt(nu) * math.tan(angle), p - 0.5)


def _widest_angle(nu: float) -> float:
    # t = 1e9 for one degree, t = 1e3 for many: beyond any quantile in the stated range.
    return math.atan(1e9 / math.sqrt(nu)) if nu < 3 else math.atan(1e3 / math.sqrt(nu))


def paired_interval(differences: Sequence[float], confidence: float = 0.95) -> Interval:
    """Returns the mean of paired differences with Student's t interval.

    mean ± t_{(1+confidence)/2, n-1} · s/√n with s² the sample's variance (divisor n - 1).

    Args:
        differences: One for each pair (seed, split), in any unit.
        confidence: In (0, 1).

    Returns:
        The interval: infinite for one difference, of zero width for identical ones.

    Raises:
        InputError: if there are no differences, one is not finite, or the confidence is outside (0, 1).

    Validity:
        Independent pairs, and differences that are roughly normal or many.

    Example:
        >>> interval = paired_interval([1.0, 2.0, 3.0])
        >>> [round(end, 4) for end in (interval.low, interval.mean, interval.high)]
        [-0.4841, 2.0, 4.4841]

    References:
        Student 1908, The probable error of a mean.
    """
    values = _finite_values("paired_interval", "differences", differences)
    require_within("paired_interval", "confidence", confidence, 0, 1, _CONFIDENCE, closed=False)
    n = values.size
    if np.all(values == values[0]) and n > 1:
        return Interval(float(values[0]), float(values[0]), float(values[0]), n, confidence)
    mean = float(np.mean(values))
    if n == 1:
        return Interval(mean, -math.inf, math.inf, n, confidence)
    reach = student_t_quantile((1 + confidence) / 2, n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return Interval(mean, mean - reach, mean + reach, n, confidence)


def bootstrap_interval(
    values: Sequence[float],
    statistic: Callable[[FloatArray], float],
    *,
    seed: int,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """Returns a statistic with its bootstrap interval, bias-corrected and accelerated (BCa).

    The ends are the quantiles Φ(z₀ + (z₀ ± z)/(1 - a(z₀ ± z))) of the resampled statistics, where z₀ = Φ⁻¹ of
    the share that lies below the estimate, and a = Σd³/(6(Σd²)^{3/2}) over the jackknife's deviations d.
    Where these do not exist (all resamples on one side) they are the plain percentiles.

    Args:
        values: Independent observations.
        statistic: Of a one-dimensional array.
        seed: Of the generator that draws the resamples; nothing global is touched.
        resamples: How many to draw.
        confidence: In (0, 1).

    Returns:
        The interval; its ``mean`` is the statistic of ``values``. Infinite for one value, of zero width for
        identical ones.

    Raises:
        InputError: if there are no values, one is not finite, resamples is below 100, or the confidence is
            outside (0, 1).

    Validity:
        Smooth statistics of ten values and more; it undercovers for fewer, and for extremes at any number.

    Example:
        >>> interval = bootstrap_interval([1.0, 2.0, 3.0, 4.0, 5.0], np.median, seed=0)
        >>> interval.low < 3.0 < interval.high
        True

    References:
        Efron 1987, Better bootstrap confidence intervals.
    """
    operation = "bootstrap_interval"
    sample = _finite_values(operation, "values", values)
    require_within(operation, "confidence", confidence, 0, 1, _CONFIDENCE, closed=False)
    if resamples < 100:
        raise InputError(f"{operation}: resamples must be at least 100, got {resamples}. Leave it at 2000.")
    estimate, n = float(statistic(sample)), sample.size
    if n == 1:
        return Interval(estimate, -math.inf, math.inf, n, confidence)
    generator = np.random.default_rng(seed)
    picks = generator.integers(0, n, size=(resamples, n))
    drawn = np.array([float(statistic(sample[pick])) for pick in picks])
    ends = _bca_probabilities(sample, statistic, estimate, drawn, confidence)
    low, high = (float(end) for end in np.quantile(drawn, ends))
    return Interval(estimate, low, high, n, confidence)


def _bca_probabilities(
    sample: FloatArray,
    statistic: Callable[[FloatArray], float],
    estimate: float,
    drawn: FloatArray,
    confidence: float,
) -> tuple[float, float]:
    plain = ((1 - confidence) / 2, (1 + confidence) / 2)
    # Ties count half: medians of small samples often equal the estimate.
    below = float(np.mean(drawn < estimate) + np.mean(drawn == estimate) / 2)
    if not 0 < below < 1:
        return plain
    shift = _NORMAL.inv_cdf(below)
    jackknife = np.array([float(statistic(np.delete(sample, index))) for index in range(sample.size)])
    deviations = np.mean(jackknife) - jackknife
    spread = float(np.sum(deviations**2)) ** 1.5
    acceleration = float(np.sum(deviations**3)) / (6 * spread) if spread > 0 else 0.0
    scores = [shift + _NORMAL.inv_cdf(probability) for probability in plain]
    if any(1 - acceleration * score <= 0 for score in scores):
        return plain
    low, high = (_NORMAL.cdf(shift + score / (1 - acceleration * score)) for score in scores)
    return low, high


def _finite_values(operation: str, name: str, values: Sequence[float]) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or not np.all(np.isfinite(array)):
        raise InputError(
            f"{operation}: {name} must be a non-empty sequence of finite numbers, got {values!r}. "
            "Leave out runs that did not finish, and say how many."
        )
    return array
