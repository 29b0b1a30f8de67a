"""The trace of the Hessian, which is the sum of its eigenvalues, from products with random vectors: Hutch++."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from gainstage.errors import InputError
from gainstage.landscape.lanczos import Product
from gainstage.landscape.objective import Norms, Objective
from gainstage.landscape.operators import Method, Operator, bend
from gainstage.landscape.precision import working_dtype
from gainstage.numerics.intervals import Interval, paired_interval
from gainstage.seeding import generator
from gainstage.trace.subject import as_subject


@dataclass(frozen=True)
class HessianTrace:
    """The sum of the eigenvalues of a loss's second derivative at a point.

    Attributes:
        trace: Estimate with its 95 % interval; NaN where there is none to be had, which `note` explains.
        part: How much of it is the exact trace in the subspace that holds most of the operator.
        products: Products of operator and vector; each is one for each batch.
        operator: ``hessian``, ``gauss-newton`` or ``fisher``.
        batches: How many batches were averaged over.
        parameters: How many there are.
        equivalents: What it cost, in forward and backward passes.
        note: What to know of the figures; empty if there is nothing.
    """

    trace: Interval
    part: float
    products: int
    operator: Operator
    batches: int
    parameters: int
    equivalents: float
    note: str

    def __str__(self) -> str:
        state = f"; {self.note}" if self.note else ""
        ends = f"{self.trace.low:.4g} to {self.trace.high:.4g}"
        return f"trace of the {self.operator}: {self.trace.mean:.4g} ({ends}, {self.products} products{state})"


def hessian_trace(
    subject_or_model: Any,
    batches: Any = None,
    loss: Any = None,
    *,
    count: int = 1,
    norms: Norms = "as is",
    operator: Operator = "hessian",
    products: Method = "exact",
    most: int = 30,
    dtype: torch.dtype | None = None,
    seed: int = 0,
) -> HessianTrace:
    """Returns the trace of the loss's Hessian with its 95 % interval; arguments as in `curvature`.

    Args:
        subject_or_model: A `Subject`, or a model with batches and loss.
        batches, loss: As in `Subject`.
        count: How many batches to average over.
        norms: Mode of the layers with running statistics.
        operator: ``hessian``, ``gauss-newton`` or ``fisher``.
        products: ``exact`` or ``difference``.
        most: Products; with as many as there are parameters the trace is exact.
        dtype: To compute in. None: as the parameters are, and float32 for half precision.
        seed: Of the random vectors and of dropout.

    Returns:
        `HessianTrace`.

    Raises:
        InputError: if an argument is out of its range.
        SubjectError: if the subject cannot be differentiated as asked.

    Example:
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> found = hessian_trace(model, (torch.diag(torch.tensor([1.0, 3.0])), torch.zeros(2, 1)))
        >>> round(found.trace.mean, 4)
        10.0

    References:
        Meyer, Musco, Musco and Woodruff 2021, Hutch++: optimal stochastic trace estimation.
    """
    subject = as_subject(subject_or_model, batches, loss)
    dtype = working_dtype(subject.model, dtype)
    objective = Objective(subject, batches=count, norms=norms, dtype=dtype, seed=seed)
    found = bend(objective, operator=operator, products=products)
    part, estimate, used, note = math.nan, Interval(math.nan, math.nan, math.nan, 0, 0.95), 0, found.fault
    if not note:
        part, estimate, used = hutch_plus_plus(found.times, torch.zeros_like(found.gradient), most=most, seed=seed)
        note = "" if math.isfinite(part) else 'a product is not finite; products="difference" may do'
    return HessianTrace(
        estimate, part, used, operator, len(objective.batches), objective.size, objective.cost.equivalents, note
    )


def hutch_plus_plus(
    product: Product, like: torch.Tensor, *, most: int = 30, seed: int = 0
) -> tuple[float, Interval, int]:
    """Returns the trace of a symmetric operator.

    tr A = tr QᵀAQ + tr (I - QQᵀ) A (I - QQᵀ): with Q an orthonormal basis of A S for random S the first part is exact,
    and holds most of an operator with few large eigenvalues; the second is the mean of gᵀ(I - QQᵀ) A (I - QQᵀ)g over
    random signs g. Each of S, AQ and the mean takes a third of the products.

    Args:
        product: A v for a vector v.
        like: A vector of the operator's size, type and device.
        most: Products, at least 6; if the operator is not larger, the trace is taken by its columns.
        seed: Of the random vectors.

    Returns:
        The exact part, the trace with its 95 % interval, and the products used. NaN if a product is not finite.

    Raises:
        InputError: if there are fewer than 6 products.

    Validity:
        The interval is Student's, over the random signs given Q: for residuals near a normal distribution, that is
        many eigenvalues and few of them large.
    """
    if most < 6:
        raise InputError(f"hessian_trace: most must be at least 6, got {most}. Thirty give a first estimate.")
    size, third = like.numel(), most // 3
    if size <= most:
        total = sum(
            float(product(unit)[i]) for i, unit in enumerate(torch.eye(size, dtype=like.dtype, device=like.device))
        )
        return total, Interval(total, total, total, size, 0.95), size
    made = generator(seed, "hutch++")
    sketch = torch.stack([product(_signs(like, made)) for _ in range(third)], dim=1)
    if not bool(torch.isfinite(sketch).all()):
        return math.nan, Interval(math.nan, math.nan, math.nan, third, 0.95), third
    basis = torch.linalg.qr(sketch).Q
    part = sum(float(torch.dot(column, product(column.contiguous()))) for column in basis.unbind(1))
    samples: list[float] = []
    for _ in range(most - 2 * third):
        signs = _signs(like, made)
        rest = signs - basis @ (basis.T @ signs)
        samples.append(float(torch.dot(rest, product(rest))))
    left = paired_interval(samples) if all(map(math.isfinite, [part, *samples])) else None
    if left is None:
        return math.nan, Interval(math.nan, math.nan, math.nan, len(samples), 0.95), most
    return part, Interval(part + left.mean, part + left.low, part + left.high, left.n, left.confidence), most


def _signs(like: torch.Tensor, made: torch.Generator) -> torch.Tensor:
    return (torch.randint(0, 2, like.shape, generator=made) * 2 - 1).to(like)
