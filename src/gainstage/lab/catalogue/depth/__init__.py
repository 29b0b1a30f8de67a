"""Claims about depth, residual branches and rank."""

from gainstage.lab.catalogue.depth import (
)

CLAIMS = (
)
