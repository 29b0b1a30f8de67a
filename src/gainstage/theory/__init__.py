"""Floor 2: what mean-field theory predicts for a network at initialization; pure numpy."""

from gainstage.theory.activations import Activation, activation_of
from gainstage.theory.diagrams import (
    DepthScales,
    PhaseDiagram,
    c_map_curves,
    depth_scales,
    phase_diagram,
    q_map_curves,
)
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
    "DepthScales",
    "Dropout",
    "Layer",
    "Level",
    "Norm",
    "PhaseDiagram",
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
    "c_map_curves",
    "chi",
    "chi1",
    "chi1_at_he_gain",
    "critical_point",
    "critical_residual_scale",
    "depth_scale_c",
    "depth_scale_q",
    "depth_scales",
    "derivative_second_moment",
    "fourth_moment",
    "gradient_band",
    "he_gain",
    "log_q_variance",
    "mean",
    "nf_gain",
    "phase_diagram",
    "predict",
    "preserving_weight_var",
    "propagate",
    "q_fixed_point",
    "q_map",
    "q_map_curves",
    "q_map_slope",
    "residual_gradient_growth",
    "residual_second_moments",
    "second_moment",
]
