"""How alike a layer's outputs are between samples: inner products of a few samples over a few coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from gainstage.trace.reductions import accumulator_dtype, real_view

SAMPLES, COORDINATES = 16, 512

Array = np.ndarray[Any, np.dtype[np.float64]]
GramFigures = tuple[float | None, float | None]

_COORDINATES: dict[int, torch.Tensor] = {}


def sample_gram(tensor: torch.Tensor, batch_size: int | None, *, wide: bool = True) -> torch.Tensor | None:
    """Inner products between samples, over a bounded random set of coordinates.

    Args:
        tensor: Its first dimension holds the samples, each maybe several times.
        batch_size: Number of samples.
        wide: Multiply in float64; float32 does where its squares stay in range.

    Returns:
        An n x n tensor for the first n <= 16 samples, or None where the first dimension holds no samples.
    """
    if not batch_size or batch_size < 2 or tensor.ndim < 2 or tensor.shape[0] % batch_size:
        return None
    tensor = real_view(tensor)
    count = min(SAMPLES, batch_size)
    # Only these samples are laid out anew where the memory is not contiguous, never the whole tensor.
    rows = tensor[: count * (tensor.shape[0] // batch_size)].reshape(count, -1)
    if rows.shape[1] > COORDINATES:
        rows = rows.index_select(1, _coordinates(rows.shape[1]).to(rows.device))
    rows = rows.to(accumulator_dtype(tensor)) if wide else rows.float()
    return rows @ rows.T


def _coordinates(features: int) -> torch.Tensor:
    if features not in _COORDINATES:
        draws = torch.randint(features, (COORDINATES,), generator=torch.Generator().manual_seed(features))
        _COORDINATES[features] = draws.sort().values
    return _COORDINATES[features]


def gram_figures(grams: Sequence[torch.Tensor | None]) -> list[GramFigures]:
    """Stable rank ‖H‖²_F / ‖H‖²_2 and mean cosine between samples from each H Hᵀ; all of one size at once."""
    found: list[GramFigures] = [(None, None)] * len(grams)
    by_size: dict[int, list[tuple[int, Array]]] = {}
    for position, gram in enumerate(grams):
        if gram is not None:
            matrix = gram.cpu().double().numpy()
            by_size.setdefault(len(matrix), []).append((position, matrix))
    for members in by_size.values():
        stack = np.stack([matrix for _, matrix in members])
        for (position, _), pair in zip(members, _stacked_figures(stack), strict=True):
            found[position] = pair
    return found


def _stacked_figures(stack: Array) -> list[GramFigures]:
    # A matrix that is not finite would make the solver fail for all of them.
    finite = np.asarray(np.isfinite(stack).all((1, 2)))
    stack = np.where(finite[:, None, None], stack, 0.0)
    largest = np.linalg.eigvalsh(stack)[:, -1]
    norms = np.sqrt(np.maximum(np.diagonal(stack, axis1=1, axis2=2), 0.0))
    inverse = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    alive = np.count_nonzero(norms, axis=1)
    cosines = (stack * inverse[:, :, None] * inverse[:, None, :]).sum((1, 2)) - alive
    pairs = np.maximum(alive * (alive - 1), 1)
    return [
        (None, None) if top <= 0 else (float(total / top), float(cosine / pair) if count > 1 else None)
        for top, total, cosine, pair, count in zip(
            largest, (norms * norms).sum(1), cosines, pairs, alive, strict=True
        )
    ]  # fmt: skip
