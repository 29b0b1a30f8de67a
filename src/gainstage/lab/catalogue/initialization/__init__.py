"""Claims about how weights are drawn."""

from gainstage.lab.catalogue.initialization import glorot_variance, he_variance, mismatch_decay

CLAIMS = (
    glorot_variance.CLAIM,
    he_variance.CLAIM,
    mismatch_decay.CLAIM,
)  # fmt: skip
