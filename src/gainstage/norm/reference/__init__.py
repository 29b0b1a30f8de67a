"""Normalization straight from its definitions, in float64, with backward passes written out by hand.

Slow and obvious, without autograd: what torch's layers and those of `gainstage.norm.layers` are held to.
"""

from gainstage.norm.reference.batch import (
    batch_norm,
    batch_norm_backward,
    batch_norm_inference,
    batch_norm_inference_backward,
    batch_statistics,
    running_average,
)
from gainstage.norm.reference.responses import (
    ResponseGradients,
    evonorm_s0,
    evonorm_s0_backward,
    filter_response_norm,
    filter_response_norm_backward,
    thresholded,
    thresholded_backward,
)
from gainstage.norm.reference.sample import (
    group_norm,
    group_norm_backward,
    instance_norm,
    instance_norm_backward,
    layer_norm,
    layer_norm_backward,
    rms_norm,
    rms_norm_backward,
)
from gainstage.norm.reference.statistics import Gradients
from gainstage.norm.reference.variants import (
    batch_renorm,
    batch_renorm_backward,
    ghost_batch_norm,
    ghost_batch_norm_backward,
    lp_batch_norm,
    lp_batch_norm_backward,
    mean_only_batch_norm,
    mean_only_batch_norm_backward,
    renorm_correction,
    scale_only_batch_norm,
    scale_only_batch_norm_backward,
)
from gainstage.norm.reference.weights import (
    scaled_weight_standardization,
    scaled_weight_standardization_backward,
    weight_norm,
    weight_norm_backward,
    weight_standardization,
    weight_standardization_backward,
)

__all__ = [
    "Gradients",
    "ResponseGradients",
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_inference",
    "batch_norm_inference_backward",
    "batch_renorm",
    "batch_renorm_backward",
    "batch_statistics",
    "evonorm_s0",
    "evonorm_s0_backward",
    "filter_response_norm",
    "filter_response_norm_backward",
    "ghost_batch_norm",
    "ghost_batch_norm_backward",
    "group_norm",
    "group_norm_backward",
    "instance_norm",
    "instance_norm_backward",
    "layer_norm",
    "layer_norm_backward",
    "lp_batch_norm",
    "lp_batch_norm_backward",
    "mean_only_batch_norm",
    "mean_only_batch_norm_backward",
    "renorm_correction",
    "rms_norm",
    "rms_norm_backward",
    "running_average",
    "scale_only_batch_norm",
    "scale_only_batch_norm_backward",
    "scaled_weight_standardization",
    "scaled_weight_standardization_backward",
    "thresholded",
    "thresholded_backward",
    "weight_norm",
    "weight_norm_backward",
    "weight_standardization",
    "weight_standardization_backward",
]
