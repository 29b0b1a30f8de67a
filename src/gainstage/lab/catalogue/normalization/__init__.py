"""Claims about normalization, the initial scale, the learning rate and generalization."""

from gainstage.lab.catalogue.normalization import (
    bn_identity,
    bn_init_sensitivity,
    bn_saturation,
    bn_sigmoid,
    combined_effect,
    large_init_first_layer,
    scale_invariance,
    weight_growth,
)

CLAIMS = (
    bn_init_sensitivity.CLAIM,
    scale_invariance.CLAIM,
    weight_growth.CLAIM,
    large_init_first_layer.CLAIM,
    bn_saturation.CLAIM,
    bn_identity.CLAIM,
    bn_sigmoid.CLAIM,
    combined_effect.CLAIM,
)  # fmt: skip
