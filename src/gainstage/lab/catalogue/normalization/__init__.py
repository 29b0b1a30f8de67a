"""Claims about normalization, the initial scale, the learning rate and generalization."""

from gainstage.lab.catalogue.normalization import scale_invariance

CLAIMS = (
    scale_invariance.CLAIM,
)  # fmt: skip
