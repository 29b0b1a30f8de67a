"""Claims about normalization, the initial scale, the learning rate and generalization."""

from gainstage.lab.catalogue.normalization import (
    bn_higher_lr,
    bn_placement,
    channel_moments_depth,
    gradient_alignment,
    lr_is_the_cause,
    scale_invariance,
    step_size_divergence,
)

CLAIMS = (
    scale_invariance.CLAIM,
    bn_higher_lr.CLAIM,
    lr_is_the_cause.CLAIM,
    step_size_divergence.CLAIM,
    channel_moments_depth.CLAIM,
    gradient_alignment.CLAIM,
    bn_placement.CLAIM,
)
