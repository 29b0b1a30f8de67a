"""Floor 1: pure numerics in float64 numpy, without torch: Gaussian quadrature, roots, intervals, fans."""

from gainstage.numerics.arguments import require_non_negative, require_positive, require_within
from gainstage.numerics.fans import Fans, fans
from gainstage.numerics.gaussian import gaussian_expectation, gaussian_pair_expectation
from gainstage.numerics.intervals import Interval, bootstrap_interval, paired_interval, student_t_quantile
from gainstage.numerics.kinks import find_kinks
from gainstage.numerics.quadrature import Elementwise, FloatArray, Integral, adaptive_integral
from gainstage.numerics.roots import bracketed_root
from gainstage.numerics.scales import scaled_expectation

__all__ = [
    "Elementwise",
    "Fans",
    "FloatArray",
    "Integral",
    "Interval",
    "adaptive_integral",
    "bootstrap_interval",
    "bracketed_root",
    "fans",
    "find_kinks",
    "gaussian_expectation",
    "gaussian_pair_expectation",
    "paired_interval",
    "require_non_negative",
    "require_positive",
    "require_within",
    "scaled_expectation",
    "student_t_quantile",
]
