"""Claims about batch size, inference and the range of numbers."""

from gainstage.lab.catalogue.numbers import (
    bn_fewer_overflows,
    forgotten_eval,
    ln_batch_independent,
    ln_recurrent,
    overflow_before_bn,
    small_batch,
)

CLAIMS = (
    small_batch.CLAIM,
    ln_batch_independent.CLAIM,
    ln_recurrent.CLAIM,
    forgotten_eval.CLAIM,
    overflow_before_bn.CLAIM,
    bn_fewer_overflows.CLAIM,
)
