"""Claims about batch size, inference and the range of numbers."""

from gainstage.lab.catalogue.numbers import ln_batch_independent

CLAIMS = (
    ln_batch_independent.CLAIM,
)  # fmt: skip
