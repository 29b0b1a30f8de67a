"""Claims about normalization, the initial scale, the learning rate and generalization."""

from gainstage.lab.catalogue.normalization import (
    bn_cuts_low_intensity,
    scale_invariance,
    sgd_noise_bound,
)

CLAIMS = (
    scale_invariance.CLAIM,
    sgd_noise_bound.CLAIM,
    bn_cuts_low_intensity.CLAIM,
)  # fmt: skip
