"""Claims about depth, residual branches and rank."""

from gainstage.lab.catalogue.depth import clipping_substitute

CLAIMS = (
    clipping_substitute.CLAIM,
)  # fmt: skip
