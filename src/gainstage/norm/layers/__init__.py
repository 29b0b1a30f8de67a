"""Normalization layers that torch lacks, and what stands in their place in networks without any.

Inputs are (N, C, ...) of any rank from 2. All state is in parameters and buffers; all layers run under
`torch.func.vmap` with stacked parameters and buffers, under autocast, and in eval mode through `torch.export`.
Outputs are of the input's type; statistics of low-precision inputs are taken in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from torch import nn

from gainstage.norm.layers.batch import BatchNorm
from gainstage.norm.layers.evonorm import EvoNormS0
from gainstage.norm.layers.filter_response import FilterResponseNorm, ThresholdedLinearUnit
from gainstage.norm.layers.frozen import FrozenBatchNorm
from gainstage.norm.layers.ghost import GhostBatchNorm
from gainstage.norm.layers.halves import MeanOnlyBatchNorm, ScaleOnlyBatchNorm
from gainstage.norm.layers.lp import LpBatchNorm, normal_p_norm
from gainstage.norm.layers.noisy import NoisyBatchNorm, ShiftingNoise
from gainstage.norm.layers.renorm import BatchRenorm, renorm_limits
from gainstage.norm.layers.scalars import FixupBias, FixupMultiplier, LayerScale, SkipInit
from gainstage.norm.layers.weight_norm import WeightNorm, weight_norm
from gainstage.norm.layers.weight_standardization import (
    ScaledWeightStandardization,
    WeightStandardization,
    activation_gain,
    scaled_weight_standardization,
    weight_standardization,
)


def _evonorm_s0(channels: int) -> nn.Module:
    # Four channels and more in a group, as 32 groups of 128 channels have.
    return EvoNormS0(
        channels, next(groups for groups in range(min(32, max(1, channels // 4)), 0, -1) if channels % groups == 0)
    )


# Every layer by name, as a function of the number of channels. The tests of the contract run for each entry.
LAYERS: dict[str, Callable[[int], nn.Module]] = {
    "batch_norm": BatchNorm,
    "noisy_batch_norm": NoisyBatchNorm,
    "ghost_batch_norm": GhostBatchNorm,
    "batch_renorm": BatchRenorm,
    "l1_batch_norm": partial(LpBatchNorm, p=1),
    "l2_batch_norm": partial(LpBatchNorm, p=2),
    "l_inf_batch_norm": partial(LpBatchNorm, p=math.inf),
    "mean_only_batch_norm": MeanOnlyBatchNorm,
    "scale_only_batch_norm": ScaleOnlyBatchNorm,
    "frozen_batch_norm": FrozenBatchNorm,
    "evonorm_s0": _evonorm_s0,
    "filter_response_norm": partial(FilterResponseNorm, learnable_eps=True),
    "thresholded_linear_unit": ThresholdedLinearUnit,
    "layer_scale": LayerScale,
    "skip_init": lambda _channels: SkipInit(),
    "fixup_bias": lambda _channels: FixupBias(),
    "fixup_multiplier": lambda _channels: FixupMultiplier(),
}

# Every reparametrization by name, in place on a layer with a weight. The same tests run for each.
PARAMETRIZATIONS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "weight_norm": weight_norm,
    "weight_standardization": weight_standardization,
    "scaled_weight_standardization": partial(scaled_weight_standardization, activation="relu"),
}

__all__ = [
    "LAYERS",
    "PARAMETRIZATIONS",
    "BatchNorm",
    "BatchRenorm",
    "EvoNormS0",
    "FilterResponseNorm",
    "FixupBias",
    "FixupMultiplier",
    "FrozenBatchNorm",
    "GhostBatchNorm",
    "LayerScale",
    "LpBatchNorm",
    "MeanOnlyBatchNorm",
    "NoisyBatchNorm",
    "ScaleOnlyBatchNorm",
    "ScaledWeightStandardization",
    "ShiftingNoise",
    "SkipInit",
    "ThresholdedLinearUnit",
    "WeightNorm",
    "WeightStandardization",
    "activation_gain",
    "normal_p_norm",
    "renorm_limits",
    "scaled_weight_standardization",
    "weight_norm",
    "weight_standardization",
]
