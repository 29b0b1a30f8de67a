"""`Wishes`: what the user asked of a batch that is made for a built-in target."""

from __future__ import annotations

from dataclasses import dataclass

SAMPLES = 8
# Enough for a batch norm on pooled images (NRM003 asks for 16 values); of large images as many as finish in seconds.
IMAGES, LARGE_IMAGES, LARGE = 16, 4, 320


@dataclass(frozen=True)
class Wishes:
    """None: as the model's own configuration has it.

    Attributes:
        input_shape: Of one sample; of token sequences the length alone.
        classes: Number of classes.
        samples: In the batch.
    """

    input_shape: tuple[int, ...] | None = None
    classes: int | None = None
    samples: int | None = None

    def count(self, usual: int = SAMPLES) -> int:
        """Samples in the batch."""
        return self.samples or usual

    def images(self, usual: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of a batch of images whose usual shape is (channels, height, width)."""
        shape = self.shape(usual)
        return self.count(IMAGES if max(shape) <= LARGE else LARGE_IMAGES), *shape

    def shape(self, usual: tuple[int, ...]) -> tuple[int, ...]:
        """Of one sample."""
        return self.input_shape or usual
