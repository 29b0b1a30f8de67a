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

import torch

# 2^17 float32 values are half a megabyte: a chunk, its shifted copy and its square stay in a core's cache.
CHUNK = 1 << 17
SAMPLES, COORDINATES = 16, 512
# Outside of these a square of a float32 loses digits to underflow, or a sum of squares overflows.
SMALLEST, LARGEST = 1e-15, 1e15

Plateau = tuple[float, float]


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

    count: torch.Tensor | float
    first: torch.Tensor
    second: torch.Tensor
    shift: torch.Tensor
    nonzero: torch.Tensor | int
    max_abs: torch.Tensor | float
    non_finite: torch.Tensor | int = 0


def accumulator_dtype(tensor: torch.Tensor) -> torch.dtype:
    """float64, except where the device has none."""
    return torch.float32 if tensor.device.type == "mps" else torch.float64


def real_view(tensor: torch.Tensor) -> torch.Tensor:
    """A complex tensor as its real and imaginary parts; anything else as it is, detached."""
    tensor = tensor.detach()
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def _chunks(tensor: torch.Tensor, keep_dim: int | None) -> Iterator[torch.Tensor]:
    """Pieces of at most about `CHUNK` values that together are the tensor and keep one dimension whole."""
    if tensor.numel() <= CHUNK:
        yield tensor
        return
    sizes = [size if dim != keep_dim else 0 for dim, size in enumerate(tensor.shape)]
    widest = max(range(tensor.ndim), key=sizes.__getitem__)
    # The outermost dimension that is long enough keeps a piece contiguous.
    dim = next((d for d, size in enumerate(sizes) if size * CHUNK >= tensor.numel()), widest)
    if sizes[dim] <= 1:
        yield tensor
        return
    for piece in tensor.split(max(1, CHUNK * tensor.shape[dim] // tensor.numel()), dim):
        if piece.numel() > 2 * CHUNK and max(s for d, s in enumerate(piece.shape) if d != keep_dim) > 1:
            yield from _chunks(piece, keep_dim)
        else:
            yield piece


def moments(tensor: torch.Tensor, unit_dim: int | None = None, *, careful: bool = False, zeros: bool = True) -> Sums:
    """Sums of a tensor over each of its units.

    Args:
        tensor: Any real or complex floating tensor.
        unit_dim: The dimension of its units (channels, features), or None for one unit.
        careful: Look for non-finite values also where looking would make an accelerator wait.
        zeros: Count the non-zero values; a fifth of the cost.

    Returns:
        The sums, on the tensor's device.
    """
    tensor = real_view(tensor)
    unit_dim = None if unit_dim is None or tensor.ndim == 0 else unit_dim % tensor.ndim
    dtype = accumulator_dtype(tensor)
    if tensor.numel() == 0:
        nothing = torch.zeros(1, dtype=dtype, device=tensor.device)
        return Sums(0.0, nothing, nothing, nothing, 0, 0.0)
    if tensor.device.type == "cpu" and tensor.dtype != torch.float64 and not careful:
        sums = _fast_moments(tensor, unit_dim, zeros=zeros)
        largest = float(sums.max_abs)
        # A NaN passes unseen through Python's max, but not through a sum.
        if math.isfinite(float(sums.first.sum())) and (largest == 0.0 or SMALLEST < largest < LARGEST):
            return sums
        careful = True
    return _wide_moments(tensor, unit_dim, dtype, careful=careful or tensor.device.type == "cpu")


def _units_last(values: torch.Tensor, unit_dim: int | None) -> list[int]:
    return [dim for dim in range(values.ndim) if dim != unit_dim]


def _shift(tensor: torch.Tensor, unit_dim: int | None) -> torch.Tensor:
    """The first value of each unit, in a shape that broadcasts against the tensor."""
    index = tuple(slice(None) if dim == unit_dim else slice(0, 1) for dim in range(tensor.ndim))
    return tensor[index]


def _fast_moments(tensor: torch.Tensor, unit_dim: int | None, *, zeros: bool) -> Sums:
    shift = _shift(tensor, unit_dim).float()
    first: torch.Tensor | None = None
    second, nonzero, max_abs = shift, 0, 0.0
    for piece in _chunks(tensor, unit_dim):
        low, high = torch.aminmax(piece)
        max_abs = max(max_abs, abs(float(low)), abs(float(high)))
        nonzero += int(torch.count_nonzero(piece)) if zeros else 0
        centred = piece - shift if piece.dtype is torch.float32 else piece.float() - shift
        dims = _units_last(centred, unit_dim)
        ones = (centred.sum(dims) if dims else centred).reshape(-1).double()
        centred *= centred
        squares = (centred.sum(dims) if dims else centred).reshape(-1).double()
        first, second = (ones, squares) if first is None else (first + ones, second + squares)
    assert first is not None
    return Sums(tensor.numel() / first.numel(), first, second, shift.reshape(-1).double(), nonzero, max_abs)


def _wide_moments(tensor: torch.Tensor, unit_dim: int | None, dtype: torch.dtype, *, careful: bool) -> Sums:
    shift = _shift(tensor, unit_dim).to(dtype)
    shift = torch.where(torch.isfinite(shift), shift, 0.0)
    zero = torch.zeros((), dtype=dtype, device=tensor.device)
    first, second, nonzero, max_abs, non_finite = zero, zero, zero, zero, zero
    count: torch.Tensor = zero
    for piece in _chunks(tensor, unit_dim):
        values = piece.to(dtype)
        dims = _units_last(values, unit_dim)
        finite = torch.isfinite(values)
        if careful:
            non_finite = non_finite + (~finite).sum()
        values = torch.where(finite, values, 0.0)
        nonzero = nonzero + torch.count_nonzero(values)
        max_abs = torch.maximum(max_abs, values.abs().max())
        centred = torch.where(finite, values - shift, 0.0)
        square = centred * centred
        count = count + (finite.sum(dims) if dims else finite.to(dtype)).reshape(-1)
        first = first + (centred.sum(dims) if dims else centred).reshape(-1)
        second = second + (square.sum(dims) if dims else square).reshape(-1)
    if not careful:
        non_finite = tensor.numel() - count.sum()
    return Sums(count, first, second, shift.reshape(-1), nonzero, max_abs, non_finite)


def plateau_count(tensor: torch.Tensor, plateau: Plateau) -> torch.Tensor:
    """How many values lie on or beyond the plateau's edges; an edge may be infinite."""
    low, high = plateau
    return sum(
        ((torch.count_nonzero(piece <= low) + torch.count_nonzero(piece >= high)) for piece in _chunks(tensor, None)),
        start=torch.zeros((), dtype=torch.int64, device=tensor.device),
    )


def sample_gram(tensor: torch.Tensor, batch_size: int | None) -> torch.Tensor | None:
    """Inner products between samples, over a bounded random set of coordinates.

    Returns:
        An n x n float64 tensor for the first n <= 32 samples, or None where the first dimension holds no samples.
    """
    tensor = real_view(tensor)
    if not batch_size or batch_size < 2 or tensor.ndim < 2 or tensor.shape[0] % batch_size:
        return None
    rows = tensor.reshape(batch_size, -1) if tensor.is_contiguous() else tensor.flatten(1)
    if rows.shape[0] != batch_size:
        return None
    rows = rows[:SAMPLES]
    if rows.shape[1] > COORDINATES:
        rows = rows.index_select(1, _coordinates(rows.shape[1]).to(rows.device))
    rows = rows.to(accumulator_dtype(tensor))
    return rows @ rows.T


_COORDINATES: dict[int, torch.Tensor] = {}


def _coordinates(features: int) -> torch.Tensor:
    if features not in _COORDINATES:
        draws = torch.randint(features, (COORDINATES,), generator=torch.Generator().manual_seed(features))
        _COORDINATES[features] = draws.sort().values
    return _COORDINATES[features]


def gram_figures(gram: torch.Tensor) -> tuple[float | None, float | None]:
    """Stable rank ‖H‖²_F / ‖H‖²_2 and mean cosine between samples, from H Hᵀ."""
    squares = gram.diagonal()
    if not bool(torch.isfinite(gram).all()):
        return None, None
    largest = torch.linalg.eigvalsh(gram)[-1]
    if largest <= 0:
        return None, None
    norms = squares.clamp_min(0).sqrt()
    alive = norms > 0
    if int(alive.sum()) < 2:
        return float(squares.sum() / largest), None
    cosines = gram[alive][:, alive] / torch.outer(norms[alive], norms[alive])
    count = cosines.shape[0]
    return float(squares.sum() / largest), float((cosines.sum() - count) / (count * (count - 1)))


def equal_rows(matrix: torch.Tensor) -> bool | None:
    """Whether all rows (output units) of a weight are equal up to rounding; None with fewer than two."""
    if matrix.ndim < 2 or matrix.shape[0] < 2 or matrix.numel() == 0:
        return None
    rounding = 1e-5 * float(matrix.detach().abs().max())
    # Most weights differ in their first two rows: one cheap comparison settles those.
    if float((matrix[0] - matrix[1]).abs().max()) > rounding:
        return False
    return bool(((matrix - matrix[:1]).abs() <= rounding).all())


def extremes(tensor: torch.Tensor) -> tuple[float | None, float | None]:
    """Smallest and largest finite value; None where there is none."""
    flat = real_view(tensor).reshape(-1)
    finite = flat[torch.isfinite(flat)]
    return (float(finite.min()), float(finite.max())) if finite.numel() else (None, None)
