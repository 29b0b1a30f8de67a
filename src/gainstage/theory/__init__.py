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
from gainstage.theory.prediction import StageLevels, predict
from gainstage.theory.registry import activation, activation_names
from gainstage.theory.residual import critical_residual_scale, residual_gradient_growth, residual_second_moments
from gainstage.theory.signals import Signal
from gainstage.theory.stages import Activate, Affine, Dropout, Norm, Residual, Stage

__all__ = [
    "Activate",
    "Activation",
    "Affine",
    "CriticalPoint",
    "Dropout",
    "Layer",
    "Level",
    "Norm",
    "Residual",
    "Signal",
    "Stage",
    "StageLevels",
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
    "critical_residual_scale",
    "depth_scale_c",
    "depth_scale_q",
    "derivative_second_moment",
    "fourth_moment",
    "gradient_band",
    "he_gain",
    "log_q_variance",
    "mean",
    "nf_gain",
    "predict",
    "preserving_weight_var",
    "propagate",
    "q_fixed_point",
    "q_map",
    "q_map_slope",
    "residual_gradient_growth",
    "residual_second_moments",
    "second_moment",
]
