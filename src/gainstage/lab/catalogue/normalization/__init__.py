"""Claims about normalization, the initial scale, the learning rate and generalization."""

from gainstage.lab.catalogue.normalization import (
    bn_cuts_low_intensity,
    bn_regularizes,
    inits_converge,
    noise_generalizes,
    scale_invariance,
    sgd_noise_bound,
)

CLAIMS = (
    scale_invariance.CLAIM,
    sgd_noise_bound.CLAIM,
    bn_regularizes.CLAIM,
    inits_converge.CLAIM,
    bn_cuts_low_intensity.CLAIM,
    noise_generalizes.CLAIM,
)  # fmt: skip
