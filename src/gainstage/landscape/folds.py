"""Sums of many gradients in a few folds: what unbiased moments and a jackknife need, without holding the gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from gainstage.landscape.objective import Objective
from gainstage.numerics import FloatArray, Interval, paired_interval

_FOLDS = 8
_PIECE = 2**16  # in float64 it stays in a processor's cache
Kept = np.ndarray[Any, np.dtype[np.bool_]]


class Folds:
    """Sums of gradients and of their squared norms, by layer, each gradient in one of eight folds.

    Args:
        objective: Whose gradients they are.
        layers: Names of the parameters of each layer.

    Attributes:
        groups: How many gradients were taken.
        non_finite: How many were left out because they are not finite.
    """

    def __init__(self, objective: Objective, layers: Mapping[str, Sequence[str]]) -> None:
        ends = np.cumsum([parameter.numel() for parameter in objective.parameters])
        spans = {
            name: slice(int(end) - parameter.numel(), int(end))
            for name, parameter, end in zip(objective.names, objective.parameters, ends, strict=True)
        }
        self._spans = {layer: [spans[name] for name in names] for layer, names in layers.items()}
        self._sums = [torch.zeros(0) for _ in range(_FOLDS)]
        self._squares = np.zeros((_FOLDS, len(self._spans)))
        self._counts = np.zeros(_FOLDS, dtype=int)
        self._grams: FloatArray | None = None
        self.non_finite = 0

    @property
    def groups(self) -> int:
        """How many gradients were taken."""
        return int(self._counts.sum())

    def add(self, rows: torch.Tensor) -> None:
        """Takes one gradient a row."""
        self._grams = None
        for row in rows:
            squares = self._by_layer(row)
            if not bool(np.isfinite(squares).all()):
                self.non_finite += 1
                continue
            fold = self.groups % _FOLDS
            self._sums[fold] = row.clone() if not self._counts[fold] else self._sums[fold].add_(row)
            self._squares[fold] += squares
            self._counts[fold] += 1

    def moments(self, size: int) -> tuple[dict[str, float], dict[str, float]]:
        """Unbiased estimates of ‖G_l‖² and tr Σ_l for each layer.

        Args:
            size: Samples behind each gradient.
        """
        squares, traces = self._moments(np.ones(_FOLDS, dtype=bool), size)
        return dict(zip(self._spans, squares.tolist(), strict=True)), dict(
            zip(self._spans, traces.tolist(), strict=True)
        )

    def signal_interval(self, size: int) -> Interval:
        """‖G‖²/tr Σ with its 95 % interval, Student's t of the jackknife's pseudo-values θ_j = Fθ - (F-1)θ_(-j).

        Args:
            size: Samples behind each gradient.

        References:
            Tukey 1958, Bias and confidence in not-quite large samples.
        """
        filled = self._counts > 0
        whole, count = self._ratio(filled, size), int(filled.sum())
        if self.groups - int(self._counts.max()) < 2:
            return Interval(whole, -np.inf, np.inf, self.groups, 0.95)
        lacking = [filled & (np.arange(_FOLDS) != fold) for fold in np.flatnonzero(filled)]
        pseudo = [count * whole - (count - 1) * self._ratio(kept, size) for kept in lacking]
        if not bool(np.isfinite(pseudo).all()):
            return Interval(whole, -np.inf, np.inf, self.groups, 0.95)
        return paired_interval(pseudo)

    def _ratio(self, kept: Kept, size: int) -> float:
        squares, traces = self._moments(kept, size)
        return float(squares.sum() / traces.sum()) if traces.sum() > 0 else float("inf")

    def _moments(self, kept: Kept, size: int) -> tuple[FloatArray, FloatArray]:
        count = int(self._counts[kept].sum())
        together = self._products()[:, kept][:, :, kept].sum((1, 2))
        squares = self._squares[kept].sum(0)
        # ‖ΣG‖²/k - mean‖g‖² and mean‖g‖² - ‖ḡ‖², each over k - 1: the latter times the size of a group.
        found = (together - squares) / (count * (count - 1))
        scatter = np.maximum(squares - together / count, 0.0) / (count - 1)
        return found, size * scatter

    def _products(self) -> FloatArray:
        """⟨s_i, s_j⟩ of the folds' sums, of shape (layers, folds, folds): all that any choice of folds needs."""
        if self._grams is None:
            empty = torch.zeros_like(self._sums[0])
            sums = [one if count else empty for one, count in zip(self._sums, self._counts, strict=True)]
            self._grams = np.stack([sum(_gram(sums, span) for span in spans) for spans in self._spans.values()])
        return self._grams

    def _by_layer(self, row: torch.Tensor) -> FloatArray:
        return np.stack([sum(_gram([row], span)[0, 0] for span in spans) for spans in self._spans.values()])


def _gram(vectors: Sequence[torch.Tensor], span: slice) -> FloatArray:
    """Inner products of a part of the vectors in float64, which is held for a piece of them at a time."""
    total = torch.zeros(len(vectors), len(vectors), dtype=torch.float64, device=vectors[0].device)
    for start in range(span.start, span.stop, _PIECE):
        rows = torch.stack([vector[start : min(start + _PIECE, span.stop)] for vector in vectors]).double()
        total += rows @ rows.T
    return total.cpu().numpy()
