"""Floor 2: what mean-field theory predicts for a network at initialization; pure numpy."""

from gainstage.theory.activations import Activation, activation_of
from gainstage.theory.finite_width import Layer, Level, log_q_variance, propagate
from gainstage.theory.fixed_points import (
    CriticalPoint,
    c_fixed_point,
    critical_point,
    depth_scale_c,
    depth_scale_q,
    preserving_weight_var,
    q_fixed_point,
)
from gainstage.theory.gradients import batch_norm_gradient_factor, gradient_band
from gainstage.theory.meanfield import c_map, chi, chi1, q_map, q_map_slope
from gainstage.theory.moments import (
    chi1_at_he_gain,
    derivative_second_moment,
    fourth_moment,
    he_gain,
    mean,
    nf_gain,
    second_moment,
)
from gainstage.theory.registry import activation, activation_names

__all__ = [
    "Activation",
    "CriticalPoint",
    "Layer",
    "Level",
    "activation",
    "activation_names",
    "activation_of",
    "batch_norm_gradient_factor",
    "c_fixed_point",
    "c_map",
    "chi",
    "chi1",
    "chi1_at_he_gain",
    "critical_point",
    "depth_scale_c",
    "depth_scale_q",
    "derivative_second_moment",
    "fourth_moment",
    "gradient_band",
    "he_gain",
    "log_q_variance",
    "mean",
    "nf_gain",
    "preserving_weight_var",
    "propagate",
    "q_fixed_point",
    "q_map",
    "q_map_slope",
    "second_moment",
]
