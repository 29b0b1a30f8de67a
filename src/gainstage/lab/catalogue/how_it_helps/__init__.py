"""Claims about why batch normalization helps: covariate shift, smoothness, noise."""

from gainstage.lab.catalogue.how_it_helps import (
    lemma_4_5,
    vgg_accuracy,
)

CLAIMS = (
    vgg_accuracy.CLAIM,
    lemma_4_5.CLAIM,
)
