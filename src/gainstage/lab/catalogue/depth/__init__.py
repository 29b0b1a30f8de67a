"""Claims about depth, residual branches and rank."""

from gainstage.lab.catalogue.depth import (
    bn_gradient_explosion,
    clipping_substitute,
    fisher_conditioning,
    fixup,
    identity_bias,
    length_direction,
    rank_collapse,
    rank_predicts,
    skipinit,
)

CLAIMS = (
    identity_bias.CLAIM,
    skipinit.CLAIM,
    rank_collapse.CLAIM,
    rank_predicts.CLAIM,
    bn_gradient_explosion.CLAIM,
    fixup.CLAIM,
    clipping_substitute.CLAIM,
    length_direction.CLAIM,
    fisher_conditioning.CLAIM,
)
