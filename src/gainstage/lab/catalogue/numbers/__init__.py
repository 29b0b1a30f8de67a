"""Claims about batch size, inference and the range of numbers."""

from gainstage.lab.catalogue.numbers import small_batch

CLAIMS = (
    small_batch.CLAIM,
)  # fmt: skip
