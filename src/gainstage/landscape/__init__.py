"""Floor 3, the loss around a point: how far a step is safe, how sharply the loss bends, how noisy its gradient is.

Each name is imported when it is first used. Every probe works on a copy of the model (`objective`), or watches one
forward pass that leaves it as it was (`trace.watching`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gainstage.lazy import lazy_attributes

if TYPE_CHECKING:
    from gainstage.landscape.alignment import OutputAlignment, output_alignment
    from gainstage.landscape.eigenvalues import Curvature, curvature, curvature_of
    from gainstage.landscape.internal_covariate_shift import CovariateShift, LayerShift, covariate_shift
    from gainstage.landscape.learning_rate.records import LearningRate, ShortRun
    from gainstage.landscape.learning_rate.suggestion import suggest_lr
    from gainstage.landscape.loss_along import StepProfile, step_profile
    from gainstage.landscape.loss_smoothness import Smoothness, smoothness
    from gainstage.landscape.noise_scale import GradientNoise, LayerNoise, NoiseEstimate, gradient_noise
    from gainstage.landscape.objective import Objective
    from gainstage.landscape.rank_measures import NamedRanks, Ranks, ranks, representation_ranks, weight_ranks
    from gainstage.landscape.residual_blocks import BlockBalance, ResidualBalance, residual_balance
    from gainstage.landscape.scale_invariance import EffectiveRate, EffectiveRates, effective_lr
    from gainstage.landscape.stability import adam_stable_lr, stable_lr
    from gainstage.landscape.traces import HessianTrace, hessian_trace

_HOMES = {
    "BlockBalance": "gainstage.landscape.residual_blocks",
    "CovariateShift": "gainstage.landscape.internal_covariate_shift",
    "Curvature": "gainstage.landscape.eigenvalues",
    "EffectiveRate": "gainstage.landscape.scale_invariance",
    "EffectiveRates": "gainstage.landscape.scale_invariance",
    "GradientNoise": "gainstage.landscape.noise_scale",
    "HessianTrace": "gainstage.landscape.traces",
    "LayerNoise": "gainstage.landscape.noise_scale",
    "LayerShift": "gainstage.landscape.internal_covariate_shift",
    "LearningRate": "gainstage.landscape.learning_rate.records",
    "NamedRanks": "gainstage.landscape.rank_measures",
    "NoiseEstimate": "gainstage.landscape.noise_scale",
    "Objective": "gainstage.landscape.objective",
    "OutputAlignment": "gainstage.landscape.alignment",
    "Ranks": "gainstage.landscape.rank_measures",
    "ResidualBalance": "gainstage.landscape.residual_blocks",
    "ShortRun": "gainstage.landscape.learning_rate.records",
    "Smoothness": "gainstage.landscape.loss_smoothness",
    "StepProfile": "gainstage.landscape.loss_along",
    "adam_stable_lr": "gainstage.landscape.stability",
    "covariate_shift": "gainstage.landscape.internal_covariate_shift",
    "curvature": "gainstage.landscape.eigenvalues",
    "curvature_of": "gainstage.landscape.eigenvalues",
    "effective_lr": "gainstage.landscape.scale_invariance",
    "gradient_noise": "gainstage.landscape.noise_scale",
    "hessian_trace": "gainstage.landscape.traces",
    "output_alignment": "gainstage.landscape.alignment",
    "ranks": "gainstage.landscape.rank_measures",
    "representation_ranks": "gainstage.landscape.rank_measures",
    "residual_balance": "gainstage.landscape.residual_blocks",
    "smoothness": "gainstage.landscape.loss_smoothness",
    "stable_lr": "gainstage.landscape.stability",
    "step_profile": "gainstage.landscape.loss_along",
    "suggest_lr": "gainstage.landscape.learning_rate.suggestion",
    "weight_ranks": "gainstage.landscape.rank_measures",
}

__all__ = [
    "BlockBalance",
    "CovariateShift",
    "Curvature",
    "EffectiveRate",
    "EffectiveRates",
    "GradientNoise",
    "HessianTrace",
    "LayerNoise",
    "LayerShift",
    "LearningRate",
    "NamedRanks",
    "NoiseEstimate",
    "Objective",
    "OutputAlignment",
    "Ranks",
    "ResidualBalance",
    "ShortRun",
    "Smoothness",
    "StepProfile",
    "adam_stable_lr",
    "covariate_shift",
    "curvature",
    "curvature_of",
    "effective_lr",
    "gradient_noise",
    "hessian_trace",
    "output_alignment",
    "ranks",
    "representation_ranks",
    "residual_balance",
    "smoothness",
    "stable_lr",
    "step_profile",
    "suggest_lr",
    "weight_ranks",
]

__getattr__ = lazy_attributes(__name__, _HOMES)
