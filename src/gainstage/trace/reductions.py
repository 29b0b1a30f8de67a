"""Figures of a tensor in one streaming pass: reduced chunk by chunk, nothing of its size is kept.

On the CPU the sums of a chunk and of its squares are taken in its own float32 and added up in float64. Units whose
mean is far from zero are summed once more about it, so that it costs no digits; values whose squares leave
float32's range are scaled by a power of two, and non-finite ones reduced again in float64. On an accelerator all of
it is float64 and stays there, so that a recording waits only once, at its end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch

from gainstage.trace.fast_sums import fast_magnitudes, fast_moments
from gainstage.trace.sums import CHUNK, Magnitudes, Number, Sums, chunks, others

# In float64, with several intermediates of a chunk at once, a quarter of a chunk fits the cache. On an accelerator
# each operation is a launch of its own, so that a chunk is as large as a few dozen megabytes of intermediates allow.
WIDE_CHUNK = 1 << 15
ACCELERATOR_CHUNK = 1 << 20

Plateau = tuple[float, float]


def accumulator_dtype(tensor: torch.Tensor) -> torch.dtype:
    """float64, except where the device has none."""
    return torch.float32 if tensor.device.type == "mps" else torch.float64


def real_view(tensor: torch.Tensor) -> torch.Tensor:
    """A complex tensor as its real and imaginary parts; anything else as it is, detached."""
    tensor = tensor.detach()
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


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
        sums = fast_moments(tensor, unit_dim, zeros=zeros)
        if sums is not None:
            return sums
    return _wide_moments(tensor, unit_dim, careful=careful or tensor.device.type == "cpu")


def _is_fast(tensor: torch.Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.dtype is not torch.float64


def magnitudes(tensor: torch.Tensor, unit_dim: int | None = None) -> Magnitudes:
    """Sum of squares, largest magnitude and dead units: all that is asked of a gradient, at half the cost.

    Args:
        tensor, unit_dim: As in `moments`.
    """
    unit_dim = None if unit_dim is None or tensor.ndim == 0 else unit_dim % tensor.ndim
    tensor = real_view(tensor.to_dense() if tensor.is_sparse else tensor)
    if tensor.numel() == 0:
        return Magnitudes(0.0, 0.0, 0.0, 0, 0)
    found = fast_magnitudes(tensor, unit_dim) if _is_fast(tensor) else None
    return _wide_magnitudes(tensor, unit_dim) if found is None else found


def _wide_chunks(tensor: torch.Tensor, keep_dim: int | None) -> Iterator[torch.Tensor]:
    return chunks(tensor, keep_dim, WIDE_CHUNK if tensor.device.type == "cpu" else ACCELERATOR_CHUNK)


def _wide_moments(tensor: torch.Tensor, unit_dim: int | None, *, careful: bool) -> Sums:
    dtype, rest = accumulator_dtype(tensor), others(tensor, unit_dim)
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
        count = count + (finite.sum(rest) if rest else finite.to(dtype)).reshape(-1)
        first = first + (centred.sum(rest) if rest else centred).reshape(-1)
        second = second + (square.sum(rest) if rest else square).reshape(-1)
    if not careful:
        non_finite = tensor.numel() - count.sum()
    return Sums(count, first, second, shift.reshape(-1), nonzero, max_abs, non_finite)


def _wide_magnitudes(tensor: torch.Tensor, unit_dim: int | None) -> Magnitudes:
    dtype, rest = accumulator_dtype(tensor), others(tensor, unit_dim)
    squares = count = largest = touched = torch.zeros((), dtype=dtype, device=tensor.device)
    for piece in _wide_chunks(tensor, unit_dim):
        sizes = piece.to(dtype).abs()
        finite = torch.isfinite(sizes)
        count = count + finite.sum()
        # NaN is not zero: a unit of NaN is not dead.
        nonzero = (sizes != 0).to(dtype)
        touched = torch.maximum(touched, (nonzero.amax(rest) if rest else nonzero).reshape(-1))
        sizes = torch.where(finite, sizes, 0.0)
        largest = torch.maximum(largest, sizes.max())
        squares = squares + (sizes * sizes).sum()
    dead = touched.numel() - touched.sum()
    return Magnitudes(count, squares, largest, dead, touched.numel(), tensor.numel() - count)


def plateau_count(tensor: torch.Tensor, plateau: Plateau) -> Number:
    """How many values lie on or beyond the plateau's edges; an edge may be infinite."""
    low, high = plateau
    counts: list[Number] = []
    for piece in chunks(tensor.detach(), None):
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


def same_samples(tensor: torch.Tensor) -> bool | None:
    """Whether all samples, along dimension 0, are equal to the last bit; None with fewer than two."""
    if tensor.ndim == 0 or len(tensor) < 2 or tensor.numel() == 0:
        return None
    # Nearly always the first two settle it: the rest is read only where they are equal.
    return torch.equal(tensor[0], tensor[1]) and bool((tensor[1:] == tensor[:1]).all())


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
