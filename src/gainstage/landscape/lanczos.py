"""The extreme eigenvalues of a symmetric operator that is known by its products with vectors alone.

The Lanczos iteration builds an orthonormal basis q_1 … q_k of the Krylov space and the tridiagonal matrix of the
operator in it, A q_j = β_{j-1} q_{j-1} + α_j q_j + β_j q_{j+1}, whose eigenvalues (Ritz values) are the estimates.
Only the last two vectors are held unless the rest are asked for. Symmetry itself is watched: the coefficient
⟨q_{j-1}, A q_j⟩ is β_{j-1} once more, and where it is not, the products are wrong by at least the difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from gainstage.errors import InputError
from gainstage.seeding import generator

Product = Callable[[torch.Tensor], torch.Tensor]
Which = Literal["algebraic", "modulus"]
WHICH: tuple[Which, ...] = ("algebraic", "modulus")

# A larger eigenvalue may have stayed unseen with at most this probability over the random part of the start.
RISK = 0.01


@dataclass(frozen=True, eq=False)
class Ritz:
    """What a Lanczos iteration found.

    Attributes:
        values: Ritz values, largest first (by value or by modulus); fewer than asked for if the operator has fewer
            distinct eigenvalues. NaN if a product was not finite.
        bounds: For each: some eigenvalue of the operator is at most this far away; with the part by which the products
            were seen not to be symmetric.
        missed: Probability bound, over the random part of the start, that there is an eigenvalue beyond the first
            value by more than the tolerance.
        products: Products with the operator that were used.
        converged: Whether each bound is within the tolerance, and `missed` within 1 %.
        vectors: Ritz vectors as rows, of shape (values, size); None if not asked for.
    """

    values: tuple[float, ...]
    bounds: tuple[float, ...]
    missed: float
    products: int
    converged: bool
    vectors: torch.Tensor | None = None


@dataclass(frozen=True, eq=False)
class Start:
    """A start vector.

    Attributes:
        vector: Of unit length.
        share: How much of its squared length was drawn uniformly at random.
    """

    vector: torch.Tensor
    share: float


def mixed_start(direction: torch.Tensor, *, seed: int = 0) -> Start:
    """A start vector of one half ``direction`` and one half chance.

    The gradient lies for a large part in the space of the largest eigenvalues, which saves products; the random half
    has a part of every eigenvector, so that a direction without the largest one cannot hide it.

    Args:
        direction: Of shape (size,); one without a length, or not finite, is left out.
        seed: Of the random half.
    """
    noise = torch.randn(direction.shape, generator=generator(seed, "lanczos"), dtype=torch.float32)
    noise = noise.to(direction)
    noise /= noise.norm()
    length = direction.norm()
    if not (torch.isfinite(length) and float(length) > 0):
        return Start(noise, 1.0)
    mixed = noise + direction / length
    square = float(mixed.square().sum())
    if square < 1e-3:  # of one parameter, and opposite signs: nothing would be left
        return Start(noise, 1.0)
    return Start(mixed / math.sqrt(square), min(1.0, 1.0 / square))


def lanczos(
    product: Product,
    start: Start,
    *,
    top: int = 1,
    which: Which = "algebraic",
    tolerance: float = 0.01,
    most: int = 100,
    vectors: bool = False,
) -> Ritz:
    """Returns the largest eigenvalues of a symmetric operator, each with a bound of its error.

    With the tridiagonal's eigenpair (θ, s) after k products some eigenvalue λ of the operator has |λ - θ| ≤ β_k |s_k|.
    That no larger one was missed is a matter of the start: an eigenvalue at λ > θ has at most the weight
    ρ(λ) = 1 / Σ_{j≤k} p_j(λ)² in it, with the orthonormal polynomials p_j of the tridiagonal, while a random vector
    has a weight below ρ with a probability of at most √(2 n ρ / π).

    Args:
        product: A v for a vector v of shape (size,).
        start: Of `mixed_start`, or any other.
        top: How many eigenvalues.
        which: The largest by value, or by modulus.
        tolerance: Of the bounds, as a part of each value.
        most: Products at most.
        vectors: Hold the basis, and return the Ritz vectors. With ``top`` above 1 it is held in any case.

    Returns:
        `Ritz`.

    Raises:
        InputError: if an argument is out of its range.

    Validity:
        Errors of the products are in the bound only as far as they break the symmetry. An eigenvalue is counted once
        however often it is repeated, and `missed` is about the first value only.

    Example:
        >>> diagonal = torch.arange(1.0, 101.0)
        >>> found = lanczos(lambda v: diagonal * v, mixed_start(torch.ones(100)))
        >>> abs(found.values[0] - 100) < 1, found.converged, found.products < 50
        (True, True, True)

    References:
        Paige 1980, Accuracy and effectiveness of the Lanczos algorithm for the symmetric eigenproblem.
        Kuczyński and Woźniakowski 1992, Estimating the largest eigenvalue by the power and Lanczos algorithms.
        Golub and Meurant 2010, Matrices, moments and quadrature (the weight of a point).
    """
    _check(top, which, tolerance, most)
    size = start.vector.numel()
    # Without the basis, rounding brings converged values back as copies: harmless to the first, fatal to a count.
    basis: list[torch.Tensor] | None = [] if vectors or top > 1 else None
    table = _Tridiagonal(size, start.share, float(torch.finfo(start.vector.dtype).eps), which, tolerance)
    before, now, beta = torch.zeros_like(start.vector), start.vector, 0.0
    found = Ritz((math.nan,), (math.nan,), 1.0, 0, converged=False)
    weights = np.zeros((0, 0))
    for step in range(1, min(most, size) + 1):
        if basis is not None:
            basis.append(now)
        image = product(now)
        alpha = float(torch.dot(image, now))
        table.error = max(table.error, abs(float(torch.dot(image, before)) - beta))
        rest = torch.sub(image, now, alpha=alpha).sub_(before, alpha=beta)  # not in place: the image may be held
        # Against the last two in any case: of a rest that is small, rounding is a large part.
        rest = _orthogonal(rest, [before, now] if basis is None else basis)
        beta = float(rest.norm())
        if not (math.isfinite(alpha) and math.isfinite(beta)):
            return Ritz((math.nan,), (math.nan,), 1.0, step, converged=False)
        found, weights = table.grown(alpha, beta, top, last=step == size)
        if found.converged or table.closed:
            break
        before, now = now, rest / beta
    if not vectors or basis is None:
        return found
    combined = torch.as_tensor(weights.T.copy()).to(start.vector) @ torch.stack(basis)
    return Ritz(found.values, found.bounds, found.missed, found.products, found.converged, combined)


def _orthogonal(vector: torch.Tensor, basis: list[torch.Tensor]) -> torch.Tensor:
    # Twice is enough (Kahan); a vector at a time needs no second copy of the basis.
    for one in basis * 2:
        vector = torch.sub(vector, one, alpha=float(torch.dot(vector, one)))
    return vector


class _Tridiagonal:
    """The operator in the basis so far, and what it says."""

    def __init__(self, size: int, share: float, eps: float, which: Which, tolerance: float) -> None:
        self.size, self.share, self.eps = size, share, eps
        self.which, self.tolerance = which, tolerance
        self.alphas: list[float] = []
        self.betas: list[float] = []
        self.closed = False
        self.error = 0.0  # of the products, as far as they are not symmetric

    def grown(self, alpha: float, beta: float, top: int, *, last: bool) -> tuple[Ritz, np.ndarray]:
        """The largest values with one more row, and their eigenvectors in the basis as columns."""
        self.alphas.append(alpha)
        self.betas.append(beta)
        count = len(self.alphas)
        matrix = np.diag(self.alphas) + np.diag(self.betas[:-1], 1) + np.diag(self.betas[:-1], -1)
        values, columns = np.linalg.eigh(matrix)
        order = np.argsort(-np.abs(values) if self.which == "modulus" else -values, kind="stable")[:top]
        # What rounding in a product may come to: below it a rest is no direction, and a bound no information.
        floor = 4 * self.eps * max(float(np.abs(values).max()), beta)
        noise = max(floor, self.error)
        self.closed = last or beta <= noise
        self.betas[-1] = max(beta, noise)  # smaller ones cannot be told from it
        bounds = np.maximum((0.0 if self.closed else beta) * np.abs(columns[-1, order]), floor) + self.error
        missed = 0.0 if last or noise == 0 else self._missed(float(values[order[0]]), floor)
        enough = len(order) == min(top, self.size) or self.closed
        small = bool(np.all(bounds <= np.maximum(self.tolerance * np.abs(values[order]), 2 * floor)))
        found = Ritz(
            tuple(map(float, values[order])), tuple(map(float, bounds)), missed, count,
            converged=enough and small and missed <= RISK,
        )  # fmt: skip
        return found, columns[:, order]

    def _missed(self, value: float, floor: float) -> float:
        beyond = max(self.tolerance * abs(value), floor)
        if self.which == "algebraic":
            return self._unseen(value + beyond)
        return min(1.0, self._unseen(abs(value) + beyond) + self._unseen(-abs(value) - beyond))

    def _unseen(self, point: float) -> float:
        """The probability that an eigenvalue at this point or beyond has so little weight in the start."""
        before, now, total, beta = 0.0, 1.0, 1.0, 0.0
        for alpha, following in zip(self.alphas, self.betas, strict=True):
            before, now = now, ((point - alpha) * now - beta * before) / following
            beta, total = following, total + now * now
            if total > 1e200:
                return 0.0
        return min(1.0, math.sqrt(2 * self.size / (math.pi * self.share * total)))


def _check(top: int, which: str, tolerance: float, most: int) -> None:
    if top < 1:
        raise InputError(f"lanczos: top must be at least 1, got {top}. One is the largest eigenvalue.")
    if which not in WHICH:
        raise InputError(f"lanczos: which must be one of {', '.join(WHICH)}, got {which!r}. Leave it out.")
    if not 0 < tolerance < 1:
        raise InputError(f"lanczos: tolerance must be between 0 and 1, got {tolerance}. 0.01 is one percent.")
    if most < 1:
        raise InputError(f"lanczos: most must be at least 1, got {most}. Thirty are enough for most networks.")
