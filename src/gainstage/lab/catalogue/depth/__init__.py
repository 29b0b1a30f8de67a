"""Claims about depth, residual branches and rank."""

from gainstage.lab.catalogue.depth import bn_gradient_explosion, fixup, identity_bias, rank_collapse, skipinit

CLAIMS = (
    identity_bias.CLAIM,
    skipinit.CLAIM,
    rank_collapse.CLAIM,
    bn_gradient_explosion.CLAIM,
    fixup.CLAIM,
)  # fmt: skip
