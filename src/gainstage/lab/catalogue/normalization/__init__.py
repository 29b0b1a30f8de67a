"""Claims about normalization, the initial scale, the learning rate and generalization."""

from gainstage.lab.catalogue.normalization import bn_identity, bn_init_sensitivity, scale_invariance

CLAIMS = (
    bn_init_sensitivity.CLAIM,
    scale_invariance.CLAIM,
    bn_identity.CLAIM,
)  # fmt: skip
