"""Claims about why batch normalization helps: covariate shift, smoothness, noise."""

from gainstage.lab.catalogue.how_it_helps import (
    beta_smoothness,
    bn_ics,
    dln_smoothness,
    gradient_predictiveness,
    lemma_4_5,
    loss_lipschitz,
    lp_norms,
    noisy_bn,
    theorem_4_1,
    vgg_accuracy,
)

CLAIMS = (
    bn_ics.CLAIM,
    noisy_bn.CLAIM,
    loss_lipschitz.CLAIM,
    gradient_predictiveness.CLAIM,
    beta_smoothness.CLAIM,
    vgg_accuracy.CLAIM,
    dln_smoothness.CLAIM,
    theorem_4_1.CLAIM,
    lp_norms.CLAIM,
    lemma_4_5.CLAIM,
)
