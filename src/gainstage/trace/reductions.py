"""Figures of a tensor in one streaming pass: reduced chunk by chunk, nothing of its size is kept.

On the CPU the sums of a chunk and of its squares are taken in its own float32 and added up in float64. Units whose
mean is far from zero are summed once more about it, so that it costs no digits; values whose squares leave
float32's range are scaled by a power of two, and non-finite ones reduced again in float64. On an accelerator all of
it is float64 and stays there, so that a recording waits only once, at its end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

# 2^17 float32 values are half a megabyte: a chunk, its shifted copy and its square stay in a core's cache.
CHUNK = 1 << 17
# In float64, with several intermediates of a chunk at once, a quarter of it does. On an accelerator each operation
# is a launch of its own, so that a chunk is as large as a few dozen megabytes of intermediates allow.
WIDE_CHUNK = 1 << 15
ACCELERATOR_CHUNK = 1 << 20
# Outside of these a square of a float32 loses digits to underflow, or a sum of squares overflows.
SMALLEST, LARGEST = 1e-15, 1e15
# A mean of more than three standard deviations: the difference of squares would lose a digit to it.
FAR = 10.0
# A unit's values of one sample lie together in memory; fewer than these are quicker laid out anew.
SHORT = 8
# Up to so many values an operation costs its call.
SMALL = 4096

Plateau = tuple[float, float]
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


def accumulator_dtype(tensor: torch.Tensor) -> torch.dtype:
    """float64, except where the device has none."""
    return torch.float32 if tensor.device.type == "mps" else torch.float64


def real_view(tensor: torch.Tensor) -> torch.Tensor:
    """A complex tensor as its real and imaginary parts; anything else as it is, detached."""
    tensor = tensor.detach()
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def _chunks(tensor: torch.Tensor, keep_dim: int | None, length: int = CHUNK) -> Iterator[torch.Tensor]:
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
            yield from _chunks(piece, keep_dim, length)
        else:
            yield piece


def _wide_chunks(tensor: torch.Tensor, keep_dim: int | None) -> Iterator[torch.Tensor]:
    return _chunks(tensor, keep_dim, WIDE_CHUNK if tensor.device.type == "cpu" else ACCELERATOR_CHUNK)


def moments(tensor: torch.Tensor, unit_dim: int | None = None, *, careful: bool = False, zeros: bool = True) -> Sums:
    """Sums of a tensor over each of its units.

    Args:
        tensor: Any real or complex floating tensor.
        unit_dim: The dimension of its units (channels, features), or None for one unit.
        careful: Look for non-finite values also where looking would make an accelerator wait.
        zeros: Count the non-zero values.

    Returns:
        The sums; on the tensor's device, or as arrays if it is the CPU.
    """
    unit_dim = None if unit_dim is None or tensor.ndim == 0 else unit_dim % tensor.ndim
    tensor = real_view(tensor)
    if tensor.numel() == 0:
        nothing = np.zeros(1)
        return Sums(0.0, nothing, nothing, nothing, 0, 0.0)
    if _is_fast(tensor):
        sums = _fast_moments(tensor, unit_dim, zeros=zeros)
        if sums is not None:
            return sums
    return _wide_moments(tensor, unit_dim, careful=careful or tensor.device.type == "cpu")


def _is_fast(tensor: torch.Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.dtype is not torch.float64


def _others(tensor: torch.Tensor, unit_dim: int | None) -> list[int]:
    return [dim for dim in range(tensor.ndim) if dim != unit_dim]


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
        return _Blocks((_float32(piece).reshape(1, -1) for piece in _chunks(tensor, None)), True)
    units, samples = tensor.shape[unit_dim], math.prod(tensor.shape[:unit_dim])
    length = tensor.numel() // (units * samples)
    if SHORT <= length <= CHUNK and tensor.is_contiguous():
        rows = _split(tensor.view(-1, length), max(1, CHUNK // length))
        return _Blocks((_float32(piece) for piece in rows), True, samples)
    last = tensor.movedim(unit_dim, -1)
    if last.is_contiguous():
        columns = _split(last.view(-1, units), max(1, CHUNK // units))
        return _Blocks((_float32(piece) for piece in columns), False)
    pieces = _chunks(tensor, unit_dim)
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


def _fast_moments(tensor: torch.Tensor, unit_dim: int | None, *, zeros: bool) -> Sums | None:
    """None if a value is not finite or float32 too narrow."""
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
    """`_fast_moments` of a few values: what counts there is the number of calls, not of values."""
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


def _fast_magnitudes(tensor: torch.Tensor, unit_dim: int | None) -> Magnitudes | None:
    """None if a value is not finite or float32 too narrow."""
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
    others = _others(tensor, unit_dim)
    few = 64 if len(others) < 2 else 8 if len(others) == 2 else 4
    corner = tensor[tuple(slice(None) if dim == unit_dim else slice(0, few) for dim in range(tensor.ndim))]
    if _touched(corner, others).all():
        return 0
    alive = np.zeros(1, bool)
    for piece in _chunks(tensor, unit_dim):
        alive = alive | _touched(piece, others)
    return len(alive) - int(np.count_nonzero(alive))


def _touched(tensor: torch.Tensor, others: list[int]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    sizes = _float32(tensor).abs()
    return (sizes.sum(others) if others else sizes).numpy().ravel() != 0


def _array(part: torch.Tensor) -> Array:
    return part.numpy().ravel().astype(np.float64)


def _wide_moments(tensor: torch.Tensor, unit_dim: int | None, *, careful: bool) -> Sums:
    dtype, others = accumulator_dtype(tensor), _others(tensor, unit_dim)
    # The first value of each unit, in a shape that broadcasts against the tensor.
    shift = tensor[tuple(slice(None) if dim == unit_dim else slice(0, 1) for dim in range(tensor.ndim))].to(dtype)
    shift = torch.where(torch.isfinite(shift), shift, 0.0)
    zero = torch.zeros((), dtype=dtype, device=tensor.device)
    first, second, nonzero, max_abs, non_finite = zero, zero, zero, zero, zero
    count: torch.Tensor = zero
    for piece in _wide_chunks(tensor, unit_dim):
        values = piece.to(dtype)
        finite = torch.isfinite(values)
        if careful:
            non_finite = non_finite + (~finite).sum()
        values = torch.where(finite, values, 0.0)
        nonzero = nonzero + torch.count_nonzero(values)
        max_abs = torch.maximum(max_abs, values.abs().max())
        centred = torch.where(finite, values - shift, 0.0)
        square = centred * centred
        count = count + (finite.sum(others) if others else finite.to(dtype)).reshape(-1)
        first = first + (centred.sum(others) if others else centred).reshape(-1)
        second = second + (square.sum(others) if others else square).reshape(-1)
    if not careful:
        non_finite = tensor.numel() - count.sum()
    return Sums(count, first, second, shift.reshape(-1), nonzero, max_abs, non_finite)


def magnitudes(tensor: torch.Tensor, unit_dim: int | None = None) -> Magnitudes:
    """Sum of squares, largest magnitude and dead units: all that is asked of a gradient, at half the cost.

    Args:
        tensor, unit_dim: As in `moments`.
    """
    unit_dim = None if unit_dim is None or tensor.ndim == 0 else unit_dim % tensor.ndim
    tensor = real_view(tensor.to_dense() if tensor.is_sparse else tensor)
    if tensor.numel() == 0:
        return Magnitudes(0.0, 0.0, 0.0, 0, 0)
    found = _fast_magnitudes(tensor, unit_dim) if _is_fast(tensor) else None
    return _wide_magnitudes(tensor, unit_dim) if found is None else found


def _wide_magnitudes(tensor: torch.Tensor, unit_dim: int | None) -> Magnitudes:
    dtype, others = accumulator_dtype(tensor), _others(tensor, unit_dim)
    squares = count = largest = touched = torch.zeros((), dtype=dtype, device=tensor.device)
    for piece in _wide_chunks(tensor, unit_dim):
        sizes = piece.to(dtype).abs()
        finite = torch.isfinite(sizes)
        count = count + finite.sum()
        # NaN is not zero: a unit of NaN is not dead.
        nonzero = (sizes != 0).to(dtype)
        touched = torch.maximum(touched, (nonzero.amax(others) if others else nonzero).reshape(-1))
        sizes = torch.where(finite, sizes, 0.0)
        largest = torch.maximum(largest, sizes.max())
        squares = squares + (sizes * sizes).sum()
    dead = touched.numel() - touched.sum()
    return Magnitudes(count, squares, largest, dead, touched.numel(), tensor.numel() - count)


def plateau_count(tensor: torch.Tensor, plateau: Plateau) -> Number:
    """How many values lie on or beyond the plateau's edges; an edge may be infinite."""
    low, high = plateau
    counts: list[Number] = []
    for piece in _chunks(tensor.detach(), None):
        outside = (piece <= low).logical_or_(piece >= high)
        counts.append(int(np.count_nonzero(outside.numpy())) if piece.device.type == "cpu" else outside.sum())
    return sum(counts)


def equal_rows(matrix: torch.Tensor, max_abs: float | None = None) -> bool | None:
    """Whether all rows (output units) of a weight are equal up to rounding; None with fewer than two.

    Args:
        matrix: The weight; its rows are dimension 0.
        max_abs: Its largest magnitude, if it is known.
    """
    if matrix.ndim < 2 or matrix.shape[0] < 2 or matrix.numel() == 0:
        return None
    matrix = matrix.detach()
    rounding = 1e-5 * (float(matrix.abs().max()) if max_abs is None else max_abs)
    # Most weights differ in their first two rows: one cheap comparison settles those.
    if float((matrix[0] - matrix[1]).abs().max()) > rounding:
        return False
    rows = max(1, CHUNK * len(matrix) // matrix.numel())
    return all(bool(((piece - matrix[:1]).abs() <= rounding).all()) for piece in matrix.split(rows))


def extremes(tensor: torch.Tensor) -> tuple[float | None, float | None]:
    """Smallest and largest finite value; None where there is none."""
    flat = real_view(tensor)
    if flat.numel() == 0:
        return None, None
    low, high = (float(extreme) for extreme in torch.aminmax(flat))
    if math.isfinite(low) and math.isfinite(high):
        return low, high
    finite = flat[torch.isfinite(flat)]
    return (float(finite.min()), float(finite.max())) if finite.numel() else (None, None)
