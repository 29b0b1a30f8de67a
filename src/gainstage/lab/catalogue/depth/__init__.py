"""Claims about depth, residual branches and rank."""

from gainstage.lab.catalogue.depth import identity_bias

CLAIMS = (
    identity_bias.CLAIM,
)  # fmt: skip
