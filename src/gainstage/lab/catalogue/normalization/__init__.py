"""Claims about normalization, the initial scale, the learning rate and generalization."""

from gainstage.lab.catalogue.normalization import (
    bn_cuts_low_intensity,
    bn_identity,
    bn_init_sensitivity,
    bn_regularizes,
    bn_saturation,
    bn_sigmoid,
    combined_effect,
    inits_converge,
    large_init_first_layer,
    noise_generalizes,
    scale_invariance,
    sgd_noise_bound,
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
    sgd_noise_bound.CLAIM,
    bn_regularizes.CLAIM,
    inits_converge.CLAIM,
    bn_cuts_low_intensity.CLAIM,
    noise_generalizes.CLAIM,
    combined_effect.CLAIM,
)
