"""Figures of a tensor in one streaming pass: reduced chunk by chunk, nothing of its size is kept.

On the CPU a chunk is reduced in its own float32, shifted by its first values so that a mean far from zero costs
no digits, and chunks are added up in float64; values whose squares leave float32's range, and non-finite ones,
are seen at once and reduced again in float64. On an accelerator all of it is float64 and stays there, so that a
recording waits only once, at its end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
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
# Where the first value is that far from the rest, the difference of squares loses two digits to it.
OUTLYING = 0.98

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
    """

    count: Part | float
    first: Part
    second: Part
    shift: Part
    nonzero: Number
    max_abs: Number
    non_finite: Number = 0

    @property
    def narrow(self) -> bool:
        """Whether all values are finite and their squares within float32's range."""
        return isinstance(self.first, np.ndarray)


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


def _first_values(tensor: torch.Tensor, unit_dim: int | None) -> torch.Tensor:
    """The first value of each unit, in a shape that broadcasts against the tensor."""
    return tensor[tuple(slice(None) if dim == unit_dim else slice(0, 1) for dim in range(tensor.ndim))]


def _float32_chunks(tensor: torch.Tensor, unit_dim: int | None) -> Iterator[torch.Tensor]:
    for piece in _chunks(tensor.resolve_neg(), unit_dim):
        yield piece if piece.dtype is torch.float32 else piece.float()


def _fast_moments(tensor: torch.Tensor, unit_dim: int | None, *, zeros: bool) -> Sums | None:
    """None if a value is not finite or float32 too narrow."""
    shift, others = _first_values(tensor, unit_dim).float(), _others(tensor, unit_dim)
    parts: list[tuple[Array, Array]] = []
    nonzero, largest = 0, 0.0
    for piece in _float32_chunks(tensor, unit_dim):
        # numpy finds extremes and counts zeros up to four times as fast as torch does on a CPU.
        values = piece.numpy()
        low, high = float(values.min()), float(values.max())
        if not -LARGEST < low <= high < LARGEST:
            return None
        largest = max(largest, -low, high)
        if zeros:
            nonzero += values.size if low > 0 else int(np.count_nonzero(values != 0))
        parts.append(_centred_sums(piece, shift, others))
    if 0 < largest <= SMALLEST:
        return None
    first, second = _added(parts)
    count = tensor.numel() / len(first)
    if (first * first > (OUTLYING * count) * second).any():
        shift = (shift.double() + torch.from_numpy(first / count).view(shift.shape)).float()
        first, second = _added([_centred_sums(piece, shift, others) for piece in _float32_chunks(tensor, unit_dim)])
    return Sums(count, first, second, _array(shift), nonzero, largest)


def _centred_sums(piece: torch.Tensor, shift: torch.Tensor, others: list[int]) -> tuple[Array, Array]:
    centred = piece - shift
    ones = _array(centred.sum(others) if others else centred)
    centred.mul_(centred)
    return ones, _array(centred.sum(others) if others else centred)


def _added(parts: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    first, second = parts[0]
    for ones, squares in parts[1:]:
        first, second = first + ones, second + squares
    return first, second


def _array(part: torch.Tensor) -> Array:
    return part.numpy().ravel().astype(np.float64)


def _wide_moments(tensor: torch.Tensor, unit_dim: int | None, *, careful: bool) -> Sums:
    dtype, others = accumulator_dtype(tensor), _others(tensor, unit_dim)
    shift = _first_values(tensor, unit_dim).to(dtype)
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


def _fast_magnitudes(tensor: torch.Tensor, unit_dim: int | None) -> Magnitudes | None:
    """None if a value is not finite or float32 too narrow."""
    others, squares, peaks = _others(tensor, unit_dim), 0.0, np.zeros(1)
    for piece in _float32_chunks(tensor, unit_dim):
        sizes = piece.abs()
        peaks = np.maximum(peaks, (sizes.amax(others) if others else sizes).numpy().ravel())
        squares += sizes.mul_(sizes).sum().item()
    largest = float(peaks.max())
    if not (largest == 0 or SMALLEST < largest < LARGEST):
        return None
    return Magnitudes(float(tensor.numel()), squares, largest, len(peaks) - int(np.count_nonzero(peaks)), len(peaks))


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
    return bool(((matrix - matrix[:1]).abs() <= rounding).all())


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
