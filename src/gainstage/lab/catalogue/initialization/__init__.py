"""Claims about how weights are drawn."""

from gainstage.lab.catalogue.initialization import he_variance

CLAIMS = (
    he_variance.CLAIM,
)  # fmt: skip
