"""Four measures that are all called rank, of each layer's representation of a batch and of weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from gainstage.errors import InputError
from gainstage.numerics import require_positive
from gainstage.trace.subject import as_subject
from gainstage.trace.watching import Seen, watched


@dataclass(frozen=True)
class Ranks:
    """Of a matrix A with singular values σ_1 ≥ σ_2 ≥ ...; each lies between 1 and the smaller side, or is 0 for A = 0.

    Attributes:
        stable_rank: ‖A‖²_F/‖A‖²_2 = Σσ²/σ_1².
        effective_rank: exp(-Σ p ln p) with p = σ/Σσ, Roy and Vetterli's.
        trace_rank: r = tr(M)²/‖M‖²_F = (Σσ²)²/Σσ⁴ with M = AAᵀ, Daneshmand et al.'s lower bound of the rank.
        tau_rank: rank_τ, how many eigenvalues of M are at least τ times tr(M)/d, d units: where tr(M)/n is d, as
            behind a batch norm, these are the eigenvalues of M/n (n samples) that are at least τ.
    """

    stable_rank: float
    effective_rank: float
    trace_rank: float
    tau_rank: int


@dataclass(frozen=True)
class NamedRanks:
    """Of one layer's representation, or one weight.

    Attributes:
        name: Of the layer, as in a trace, or of the parameter.
        kind: Of the layer (``linear``, ``norm``, ...), or ``weight``.
        rows: Samples, or the first dimension of a weight: output units, but for embeddings and transposed convolutions.
        columns: Features, or all else of a weight.
        ranks: None where a value is not finite.
    """

    name: str
    kind: str
    rows: int
    columns: int
    ranks: Ranks | None


def ranks(matrix: torch.Tensor, *, tau: float = 0.01, units: int | None = None) -> Ranks:
    """Returns the four measures of a matrix.

    Args:
        matrix: Of two dimensions, finite.
        tau: τ of rank_τ.
        units: d of rank_τ; None: the number of columns.

    Raises:
        InputError: if it is no matrix, a value is not finite, or tau is not positive.

    Validity:
        Nothing is centred: a common mean is a direction of its own, and the largest one behind a ReLU. Eigenvalues of
        the smaller Gram matrix in float64: those below 1e-14 of the largest are rounding, and left out.

    Example:
        >>> found = ranks(torch.diag(torch.tensor([2.0, 1.0])))
        >>> found.stable_rank, round(found.effective_rank, 4), round(found.trace_rank, 4), found.tau_rank
        (1.25, 1.8899, 1.4706, 2)

    References:
        Roy and Vetterli 2007, The effective rank; Daneshmand et al. 2020, Batch normalization provably avoids rank
        collapse; Rudelson and Vershynin 2007 for the stable rank.
    """
    require_positive("ranks", "tau", tau, "Give a small share of the mean eigenvalue, such as 0.01.")
    if matrix.ndim != 2:
        raise InputError(f"ranks: matrix must have two dimensions, got {matrix.ndim}. Flatten it: x.flatten(1).")
    if not bool(matrix.isfinite().all()):
        raise InputError("ranks: matrix must be finite, got NaN or infinity. Find where it begins: gainstage check.")
    a = matrix.detach().to(torch.complex128 if matrix.is_complex() else torch.float64)
    # Scaled, so that squares and fourth powers of any finite float stay in range.
    largest = float(a.abs().max()) if a.numel() else 0.0
    if not largest > 0:
        return Ranks(0.0, 0.0, 0.0, 0)
    a = a / largest
    gram = a @ a.mH if len(a) <= a.shape[1] else a.mH @ a
    squares = torch.linalg.eigvalsh(gram)
    squares = squares[squares > 1e-14 * squares[-1]]
    singular = squares.sqrt()
    p = singular / singular.sum()
    total = squares.sum()
    least = tau * total / (a.shape[1] if units is None else units)
    return Ranks(
        float(total / squares[-1]), float(torch.exp(-(p * p.log()).sum())), float(total**2 / (squares**2).sum()),
        int((squares >= least).sum()),
    )  # fmt: skip


def representation_ranks(
    subject_or_model: Any, batches: Any = None, loss: Any = None, *, positions: bool = False, most: int = 256,
    tau: float = 0.01,
) -> tuple[NamedRanks, ...]:  # fmt: skip
    """Returns the ranks of every layer's output for one batch, in order of execution.

    Args:
        subject_or_model, batches, loss: As in `gainstage.check`; the first batch is used, forward only.
        positions: Take every position of an image or sequence for a sample, channels for features; otherwise a
            sample's whole output is one row.
        most: Rows and columns, at most; beyond it a fixed random choice of them.
        tau: As in `ranks`.

    Returns:
        One entry for each layer of a trace whose output has samples.

    Raises:
        InputError: if most is below 2.
        SubjectError: if the batch does not fit the model.

    Validity:
        No rank is above the number of samples: batches of as many as there are units show most.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
        >>> [(found.name, found.rows, found.columns) for found in representation_ranks(model, torch.randn(8, 4))]
        [('0', 8, 3), ('1', 8, 3)]

    References:
        Daneshmand et al. 2020, Batch normalization provably avoids rank collapse.
    """
    if most < 2:
        raise InputError(f"representation_ranks: most must be at least 2, got {most}. Leave it at 256.")
    found: dict[int, tuple[int, int, Ranks | None]] = {}

    def look(seen: Seen) -> None:
        matrix = _matrix(seen, positions=positions)
        if matrix is not None:
            found[seen.position] = (len(matrix), matrix.shape[1], _bounded(matrix, most, tau))

    layers = watched(as_subject(subject_or_model, batches, loss), look)
    named = ((layers[position], entry) for position, entry in sorted(found.items()))
    return tuple(NamedRanks(layer.name, layer.kind, *entry) for layer, entry in named)


def weight_ranks(model: nn.Module, *, tau: float = 0.01) -> tuple[NamedRanks, ...]:
    """Returns the ranks of each parameter of two dimensions or more, as its first dimension x all else.

    The first dimension is that of the output units in linear and convolutional layers, of the entries in an embedding,
    and of the input channels in a transposed convolution.

    Args:
        model: Is only read.
        tau: As in `ranks`.

    Example:
        >>> [(found.name, found.rows, found.columns) for found in weight_ranks(nn.Conv2d(3, 8, 5))]
        [('weight', 8, 75)]
    """
    weights = [(name, p.detach().flatten(1)) for name, p in model.named_parameters() if p.ndim > 1 and p.numel()]
    return tuple(
        NamedRanks(name, "weight", len(w), w.shape[1], _finite_ranks(w, tau, w.shape[1])) for name, w in weights
    )


def _matrix(seen: Seen, *, positions: bool) -> torch.Tensor | None:
    output = seen.output
    if output.ndim < 2 or not output.numel() or not output.is_floating_point():
        return None
    if not positions:
        return output.flatten(1)
    return output.movedim(1 if seen.unit_dim is None else seen.unit_dim, -1).flatten(0, -2)


def _bounded(matrix: torch.Tensor, most: int, tau: float) -> Ranks | None:
    for dim in (0, 1):
        if matrix.shape[dim] > most:
            draw = torch.Generator().manual_seed(matrix.shape[dim])
            picks = torch.randperm(matrix.shape[dim], generator=draw)[:most].sort().values
            matrix = matrix.index_select(dim, picks.to(matrix.device))
    return _finite_ranks(matrix, tau, matrix.shape[1])


def _finite_ranks(matrix: torch.Tensor, tau: float, units: int) -> Ranks | None:
    return ranks(matrix, tau=tau, units=units) if bool(matrix.isfinite().all()) else None
