"""What a reduction adds up, and the pieces in which it goes through a tensor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

# 2^17 float32 values are half a megabyte: a chunk, its shifted copy and its square stay in a core's cache.
CHUNK = 1 << 17

Array = np.ndarray[Any, np.dtype[np.float64]]
Part = torch.Tensor | Array
Number = torch.Tensor | float


@dataclass
class Sums:
    """What `moments` adds up, for each unit u with values x: of (x - shift) and its square.

    Attributes:
        count: Finite values per unit, (units,) or a number.
        first, second: (units,) float64.
        shift: (units,) float64.
        nonzero: Number of non-zero values in all units, if they were counted.
        max_abs: Largest magnitude.
        non_finite: Number of NaN and infinite values, which are left out of all the above.
        scaled: Whether they were scaled on the way, because float32 was too narrow for their squares.
    """

    count: Part | float
    first: Part
    second: Part
    shift: Part
    nonzero: Number
    max_abs: Number
    non_finite: Number = 0
    scaled: bool = False

    @property
    def values_per_unit(self) -> float:
        """How many values each unit has, all of them counted."""
        if isinstance(self.count, float):
            return self.count
        counted = 0.0 if isinstance(self.count, int) else float(self.count.sum())
        return (counted + float(self.non_finite)) / max(1, len(self.first))

    @property
    def narrow(self) -> bool:
        """Whether all values are finite and their squares within float32's range."""
        return isinstance(self.first, np.ndarray) and not self.scaled


@dataclass
class Magnitudes:
    """What `magnitudes` adds up; as in `Sums`.

    Attributes:
        squares: Sum of the squares.
        dead: Number of units that are zero throughout.
    """

    count: Number
    squares: Number
    max_abs: Number
    dead: Number
    units: int
    non_finite: Number = 0


def chunks(tensor: torch.Tensor, keep_dim: int | None, length: int = CHUNK) -> Iterator[torch.Tensor]:
    """Pieces of at most about ``length`` values that together are the tensor and keep one dimension whole."""
    if tensor.numel() <= length:
        yield tensor
        return
    sizes = [size if dim != keep_dim else 0 for dim, size in enumerate(tensor.shape)]
    widest = max(range(tensor.ndim), key=sizes.__getitem__)
    # The outermost dimension that is long enough keeps a piece contiguous.
    dim = next((d for d, size in enumerate(sizes) if size * length >= tensor.numel()), widest)
    if sizes[dim] <= 1:
        yield tensor
        return
    for piece in tensor.split(max(1, length * tensor.shape[dim] // tensor.numel()), dim):
        if piece.numel() > 2 * length and max(s for d, s in enumerate(piece.shape) if d != keep_dim) > 1:
            yield from chunks(piece, keep_dim, length)
        else:
            yield piece


def others(tensor: torch.Tensor, unit_dim: int | None) -> list[int]:
    """All dimensions but the units'."""
    return [dim for dim in range(tensor.ndim) if dim != unit_dim]
