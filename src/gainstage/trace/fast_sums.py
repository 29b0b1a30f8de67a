"""Sums on the CPU, in float32 where it is wide enough: numpy's and torch's quickest passes over cached pieces.

None of it holds for values that are not finite, or for squares that no power of two brings into float32's range:
there the answer is None, and float64 has to do it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gainstage.trace.sums import CHUNK, Array, Magnitudes, Sums, chunks, others

# Outside of these a square of a float32 loses digits to underflow, or a sum of squares overflows.
SMALLEST, LARGEST = 1e-15, 1e15
# A mean of more than three standard deviations: the difference of squares would lose a digit to it.
FAR = 10.0
# A unit's values of one sample lie together in memory; fewer than these are quicker laid out anew.
SHORT = 8
# Up to so many values an operation costs its call.
SMALL = 4096


@dataclass
class _Blocks:
    """A CPU tensor as float32 matrices that fit a core's cache.

    Attributes:
        pieces: The matrices, lazily.
        by_row: Each row holds values of one unit, samples times units rows in all; else each column is a unit.
        samples: How many rows of all the pieces belong to each unit, if ``by_row``.
    """

    pieces: Iterator[torch.Tensor]
    by_row: bool
    samples: int = 1


def _blocks(tensor: torch.Tensor, unit_dim: int | None) -> _Blocks:
    tensor = tensor.resolve_neg()
    if unit_dim is None:
        flat = _flat(tensor)
        if flat is not None:
            return _Blocks((_float32(piece).view(1, -1) for piece in _split(flat, CHUNK)), True)
        return _Blocks((_float32(piece).reshape(1, -1) for piece in chunks(tensor, None)), True)
    units, samples = tensor.shape[unit_dim], math.prod(tensor.shape[:unit_dim])
    length = tensor.numel() // (units * samples)
    if SHORT <= length <= CHUNK and tensor.is_contiguous():
        rows = _split(tensor.view(-1, length), max(1, CHUNK // length))
        return _Blocks((_float32(piece) for piece in rows), True, samples)
    last = tensor.movedim(unit_dim, -1)
    if last.is_contiguous():
        columns = _split(last.view(-1, units), max(1, CHUNK // units))
        return _Blocks((_float32(piece) for piece in columns), False)
    pieces = chunks(tensor, unit_dim)
    return _Blocks((_float32(piece).movedim(unit_dim, -1).reshape(-1, units) for piece in pieces), False)


def _split(tensor: torch.Tensor, length: int) -> Iterable[torch.Tensor]:
    return (tensor,) if len(tensor) <= length else tensor.split(length)


def _flat(tensor: torch.Tensor) -> torch.Tensor | None:
    """The values in the order in which they lie in memory, if they lie there without gaps."""
    if tensor.is_contiguous():
        return tensor.view(-1)
    order = sorted(range(tensor.ndim), key=tensor.stride, reverse=True)
    ordered = tensor.permute(order)
    return ordered.view(-1) if ordered.is_contiguous() else None


def _float32(tensor: torch.Tensor) -> torch.Tensor:
    return tensor if tensor.dtype is torch.float32 else tensor.float()


@dataclass
class _Swept:
    first: Array
    second: Array
    nonzero: int
    largest: float


def _swept(
    tensor: torch.Tensor, unit_dim: int | None, *, means: bool = True, zeros: bool = False,
    near: torch.Tensor | None = None, scale: float = 1.0,
) -> _Swept | None:  # fmt: skip
    """Sums over each unit, of ``scale`` times the values, less ``near``, and of their squares, in one pass.

    None if a value is not finite or float32 too narrow.
    """
    blocks = _blocks(tensor, unit_dim)
    first: list[Array] = []
    second: list[Array] = []
    nonzero, largest, row = 0, 0.0, 0
    for piece in blocks.pieces:
        piece = piece if scale == 1 else piece * scale
        # numpy finds extremes and counts zeros up to four times as fast as torch does on a CPU.
        values = piece.numpy()
        low, high = float(values.min()), float(values.max())
        if not -LARGEST < low <= high < LARGEST:
            return None
        largest = max(largest, -low, high)
        if zeros:
            nonzero += values.size if low > 0 or high < 0 else int(np.count_nonzero(values != 0))
        if near is not None and blocks.by_row and unit_dim is not None:
            units = torch.arange(row, row + len(piece)) % len(near)
            piece = piece - near[units].unsqueeze(1)
            row += len(piece)
        elif near is not None:
            piece = piece - near
        if means:
            first.append(_sums(piece, blocks.by_row))
        second.append(_squares(piece, blocks.by_row))
    if 0 < largest <= SMALLEST:
        return None
    added = _by_unit if blocks.by_row and unit_dim is not None else _added
    return _Swept(
        added(first, blocks.samples) if means else np.zeros(1), added(second, blocks.samples), nonzero, largest
    )


def _sums(piece: torch.Tensor, by_row: bool) -> Array:
    return _array(piece.sum(1 if by_row else 0))


def _squares(piece: torch.Tensor, by_row: bool) -> Array:
    if not by_row:
        return _array((piece * piece).sum(0))
    if len(piece) == 1:
        return np.array([torch.dot(piece[0], piece[0]).item()])
    norms = _array(torch.linalg.vector_norm(piece, 2, 1))
    return norms * norms


def _added(parts: list[Array], _samples: int) -> Array:
    return parts[0] if len(parts) == 1 else np.sum(parts, axis=0)


def _by_unit(parts: list[Array], samples: int) -> Array:
    rows = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return rows if samples == 1 else rows.reshape(samples, -1).sum(0)


def fast_moments(tensor: torch.Tensor, unit_dim: int | None, *, zeros: bool) -> Sums | None:
    """`reductions.moments` of a CPU tensor; None if a value is not finite or float32 too narrow."""
    if unit_dim is None and tensor.numel() <= SMALL:
        return _small_moments(tensor)
    swept, scale = _swept(tensor, unit_dim, zeros=zeros), 1.0
    if swept is None:
        scale = _fitting_scale(tensor)
        swept = None if scale is None else _swept(tensor, unit_dim, zeros=zeros, scale=scale)
    if swept is None or scale is None:
        return None
    count = tensor.numel() / len(swept.first)
    shift = np.zeros_like(swept.first)
    squared = swept.first * swept.first / count
    about: _Swept | None = swept
    if swept.largest > 0 and (squared > FAR * np.maximum(swept.second - squared, 0.0)).any():
        # It is subtracted in float32: what is added back in the end is that number.
        near = torch.from_numpy(swept.first / count).float()
        shift, about = _array(near), _swept(tensor, unit_dim, near=near, scale=scale)
    if about is None:
        return None
    return Sums(
        count, about.first / scale, about.second / scale / scale, shift / scale, swept.nonzero, swept.largest / scale,
        scaled=scale != 1,
    )  # fmt: skip


def _fitting_scale(tensor: torch.Tensor) -> float | None:
    """The power of two that brings the largest magnitude near 1; None if a value is not finite."""
    largest = 0.0
    for piece in _blocks(tensor, None).pieces:
        values = piece.numpy()
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            return None
        largest = max(largest, -low, high)
    # A power beyond 2^120 is none in float32, and one is enough for its smallest value.
    return 2.0 ** max(-120, min(120, -math.frexp(largest)[1]))


def _small_moments(tensor: torch.Tensor) -> Sums | None:
    """`fast_moments` of a few values: what counts there is the number of calls, not of values."""
    values = _array(_float32(tensor).resolve_neg())
    low, high = float(values.min()), float(values.max())
    largest = max(-low, high)
    if not (-LARGEST < low <= high < LARGEST) or 0 < largest <= SMALLEST:
        return None
    mean = values.mean()
    values -= mean
    second = np.array([float(values @ values)])
    nonzero = int(np.count_nonzero(values + mean)) if low <= 0 <= high else len(values)
    return Sums(float(len(values)), np.zeros(1), second, np.array([mean]), nonzero, largest)


def fast_magnitudes(tensor: torch.Tensor, unit_dim: int | None) -> Magnitudes | None:
    """`reductions.magnitudes` of a CPU tensor; None if a value is not finite or float32 too narrow."""
    if unit_dim is None and tensor.numel() <= SMALL:
        values = _array(_float32(tensor).resolve_neg())
        squares, largest = float(values @ values), float(np.abs(values).max())
        # A sum of squares is NaN as soon as one of the values is.
        fits = squares == squares and (largest == 0 or SMALLEST < largest < LARGEST)
        return Magnitudes(float(len(values)), squares, largest, int(largest == 0), 1) if fits else None
    swept, scale = _swept(tensor, None, means=False), 1.0
    if swept is None:
        scale = _fitting_scale(tensor)
        swept = None if scale is None else _swept(tensor, None, means=False, scale=scale)
    if swept is None or scale is None:
        return None
    units = 1 if unit_dim is None else tensor.shape[unit_dim]
    dead = _dead_units(tensor, unit_dim) if swept.largest > 0 else units
    squares = float(swept.second[0]) / scale / scale
    return Magnitudes(float(tensor.numel()), squares, swept.largest / scale, dead, units)


def _dead_units(tensor: torch.Tensor, unit_dim: int | None) -> int:
    """How many units are zero throughout. Most are not at their first few values: only then is all looked at."""
    rest = others(tensor, unit_dim)
    few = 64 if len(rest) < 2 else 8 if len(rest) == 2 else 4
    corner = tensor[tuple(slice(None) if dim == unit_dim else slice(0, few) for dim in range(tensor.ndim))]
    if _touched(corner, rest).all():
        return 0
    alive = np.zeros(1, bool)
    for piece in chunks(tensor, unit_dim):
        alive = alive | _touched(piece, rest)
    return len(alive) - int(np.count_nonzero(alive))


def _touched(tensor: torch.Tensor, over: list[int]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    sizes = _float32(tensor).abs()
    return (sizes.sum(over) if over else sizes).numpy().ravel() != 0


def _array(part: torch.Tensor) -> Array:
    return part.numpy().ravel().astype(np.float64)
