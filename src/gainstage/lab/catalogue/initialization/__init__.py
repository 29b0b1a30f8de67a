"""Claims about how weights are drawn."""

from gainstage.lab.catalogue.initialization import (
    delta_orthogonal_depth,
    edge_of_chaos,
    glorot_variance,
    he_variance,
    he_with_tanh,
    mismatch_decay,
    products_ill_conditioned,
    symmetry_breaking,
)

CLAIMS = (
    glorot_variance.CLAIM,
    he_variance.CLAIM,
    mismatch_decay.CLAIM,
    symmetry_breaking.CLAIM,
    he_with_tanh.CLAIM,
    edge_of_chaos.CLAIM,
    delta_orthogonal_depth.CLAIM,
    products_ill_conditioned.CLAIM,
)
