"""Claims about how weights are drawn."""

from gainstage.lab.catalogue.initialization import glorot_variance, he_variance

CLAIMS = (
    glorot_variance.CLAIM,
    he_variance.CLAIM,
)  # fmt: skip
