"""How sharply the loss bends, by the largest eigenvalues of its Hessian, or of a relative of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch

from gainstage.landscape.lanczos import Which, lanczos, mixed_start
from gainstage.landscape.objective import Norms, Objective
from gainstage.landscape.operators import Method, Operator, bend
from gainstage.landscape.precision import working_dtype
from gainstage.trace.subject import as_subject


@dataclass(frozen=True)
class Curvature:
    """The largest eigenvalues of a loss's second derivative at a point.

    Attributes:
        eigenvalues: Largest first, in units of loss per squared weight (per squared preconditioned weight); NaN where
            there are none to be had, which `note` explains.
        bounds: For each: some eigenvalue lies at most this far from it.
        missed: Probability bound that there is an eigenvalue beyond the first by more than the tolerance.
        converged: Whether bounds and `missed` are within the tolerance.
        products: Products of operator and vector; each is one for each batch.
        method: How they were made, ``exact`` or ``difference``.
        operator: ``hessian``, ``gauss-newton`` or ``fisher``.
        preconditioner: Where the preconditioner comes from; empty without one.
        norms: Mode of the layers with running statistics.
        batches: How many batches were averaged over.
        parameters: How many there are.
        loss: At the point.
        gradient_norm: At the point, in the coordinates of the eigenvalues.
        equivalents: What it cost, in forward and backward passes.
        note: What to know of the figures; empty if there is nothing.
    """

    eigenvalues: tuple[float, ...]
    bounds: tuple[float, ...]
    missed: float
    converged: bool
    products: int
    method: Method
    operator: Operator
    preconditioner: str
    norms: Norms
    batches: int
    parameters: int
    loss: float
    gradient_norm: float
    equivalents: float
    note: str

    @property
    def sharpness(self) -> float:
        """The largest eigenvalue."""
        return self.eigenvalues[0]

    def __str__(self) -> str:
        listed = ", ".join(f"{v:.4g} ± {b:.1g}" for v, b in zip(self.eigenvalues, self.bounds, strict=True))
        scaled = f", preconditioned by {self.preconditioner}" if self.preconditioner else ""
        effort = f"{self.products} {self.method} products over {self.batches} batch{'es' * (self.batches > 1)}"
        state = f"; {self.note}" if self.note else ""
        return f"{self.operator}{scaled}: {listed} ({effort}{state})"


def curvature(
    subject_or_model: Any,
    batches: Any = None,
    loss: Any = None,
    *,
    count: int = 1,
    top: int = 1,
    which: Which = "algebraic",
    norms: Norms = "as is",
    operator: Operator = "hessian",
    products: Method = "exact",
    preconditioner: Literal["adam"] | torch.Tensor | None = None,
    tolerance: float = 0.01,
    most: int = 100,
    dtype: torch.dtype | None = None,
    seed: int = 0,
) -> Curvature:
    """Returns the largest eigenvalues of the loss's Hessian, each with a bound of its error.

    λ_max = max over v of vᵀ H v / vᵀ v, H = ∂²L/∂w², by the Lanczos iteration on products H v. The model, its
    optimizer, buffers, gradients and all random states stay as they are.

    Args:
        subject_or_model: A `Subject`, or a model with batches and loss as in `Subject`.
        batches, loss: As in `Subject`.
        count: How many batches to average over; one is the stochastic curvature, which is larger.
        top: How many eigenvalues.
        which: The largest by value, which limit the step size, or by modulus.
        norms: Batch normalization by its batch (``train``), by running statistics (``eval``), or as the model is.
        operator: ``hessian``; ``gauss-newton``, Jᵀ H_z J with outputs z and their Jacobian J; or ``fisher``, which is
            the same matrix for a loss that is minus a log-likelihood, and is refused for another.
        products: ``exact`` by differentiating twice, or by a ``difference`` of two gradients, which any model has
            and which costs half as much. For smooth activations: a gradient that jumps has no useful differences.
        preconditioner: None; ``adam``: eigenvalues of P^-½ H P^-½, P = diag(√v̂ + ε) from the subject's optimizer, or
            as after its first step if it has not stepped; or P's diagonal, a vector over the trainable parameters.
        tolerance: Of each eigenvalue, as a part of it.
        most: Products at most.
        dtype: To compute in. None: as the parameters are, and float32 for half precision.
        seed: Of the start vector and of dropout.

    Returns:
        `Curvature`.

    Raises:
        InputError: if an argument is out of its range.
        SubjectError: if the subject has no gradients, or cannot be differentiated twice.

    Validity:
        The Fisher information is that of the density whose negative logarithm the loss is, averaged as the loss
        averages; for squared error that is a variance of one half. It is not the empirical Fisher, made of gradients
        at the data's own targets, which is no curvature. Kinks (ReLU) count as flat in exact products. An autograd
        function of one's own has the second derivative that its backward pass has: if that uses what was computed
        aside of its inputs and outputs, torch takes it as constant, and so it is missing here.

    Example:
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> found = curvature(model, (torch.diag(torch.tensor([1.0, 3.0])), torch.zeros(2, 1)))
        >>> round(found.sharpness, 4), found.converged  # the Hessian of mean (x w)^2 is X^T X for two samples
        (9.0, True)

    References:
        Ghorbani, Krishnan and Xiao 2019, An investigation into neural net optimization via Hessian eigenvalue density.
        Cohen et al. 2022, Adaptive gradient methods at the edge of stability (preconditioned).
        Kunstner, Hennig and Balles 2019, Limitations of the empirical Fisher approximation.
    """
    subject = as_subject(subject_or_model, batches, loss)
    dtype = working_dtype(subject.model, dtype)
    objective = Objective(subject, batches=count, norms=norms, dtype=dtype, seed=seed)
    return curvature_of(
        objective, top=top, which=which, norms=norms, operator=operator, products=products,
        preconditioner=preconditioner, tolerance=tolerance, most=most, seed=seed,
    )  # fmt: skip


def curvature_of(
    objective: Objective,
    *,
    top: int = 1,
    which: Which = "algebraic",
    norms: Norms = "as is",
    operator: Operator = "hessian",
    products: Method = "exact",
    preconditioner: Literal["adam"] | torch.Tensor | None = None,
    tolerance: float = 0.01,
    most: int = 100,
    seed: int = 0,
) -> Curvature:
    """The same of an objective that is there already; ``norms`` is only written down."""
    before = objective.cost.equivalents
    found = bend(objective, operator=operator, products=products, preconditioner=preconditioner)
    values, bounds, missed, converged, used = (math.nan,) * top, (math.nan,) * top, 1.0, False, 0
    if not found.fault:
        ritz = lanczos(
            found.times, mixed_start(found.gradient, seed=seed),
            top=top, which=which, tolerance=tolerance, most=most,
        )  # fmt: skip
        values, bounds, missed, converged = ritz.values, ritz.bounds, ritz.missed, ritz.converged
        used = ritz.products
    return Curvature(
        values, bounds, missed, converged, used, products, operator, found.preconditioner, norms,
        len(objective.batches), objective.size, found.loss, float(found.gradient.norm()),
        objective.cost.equivalents - before,
        found.fault or _note(values, products, converged=converged, stopped=used < most),
    )  # fmt: skip


def _note(values: tuple[float, ...], products: Method, *, converged: bool, stopped: bool) -> str:
    if any(map(math.isnan, values)):
        return 'a product is not finite, as at the root of zero; products="difference" steps aside of such points'
    if converged:
        return ""
    if products == "difference":
        return "not within the tolerance: gradients that jump (ReLU) have no useful differences, exact products do"
    if stopped:
        return "not within the tolerance: rounding in the products ends it; dtype=torch.float64 may do"
    return "not within the tolerance: allow more products"
