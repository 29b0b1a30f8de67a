"""Claims about depth, residual branches and rank."""

from gainstage.lab.catalogue.depth import bn_gradient_explosion, identity_bias, rank_collapse

CLAIMS = (
    identity_bias.CLAIM,
    rank_collapse.CLAIM,
    bn_gradient_explosion.CLAIM,
)  # fmt: skip
