"""Which matrix a probe looks at: the mean over batches of a Hessian or a Gauss-Newton matrix, as it is or scaled."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from gainstage.errors import InputError
from gainstage.landscape.gauss_newton import gauss_newton_product, require_likelihood
from gainstage.landscape.objective import Objective
from gainstage.landscape.preconditioner import Preconditioner, adam_preconditioner, diagonal_preconditioner

Operator = Literal["hessian", "gauss-newton", "fisher"]
OPERATORS: tuple[Operator, ...] = ("hessian", "gauss-newton", "fisher")
Method = Literal["exact", "difference"]
METHODS: tuple[Method, ...] = ("exact", "difference")
Times = Callable[[torch.Tensor], torch.Tensor]

# With more batches than these, each product builds its graphs anew: for half as much again there is one in memory.
_GRAPHS = 4


@dataclass(frozen=True, eq=False)
class Bend:
    """A symmetric operator over the parameters of an objective.

    Attributes:
        times: The product with a vector.
        loss: Mean over the batches, before any step.
        gradient: Of that loss; with a preconditioner P, P^-½ times it.
        preconditioner: In words; empty without one.
    """

    times: Times
    loss: float
    gradient: torch.Tensor
    preconditioner: str

    @property
    def fault(self) -> str:
        """Why there is no curvature to be had at this point; empty if there is."""
        if not math.isfinite(self.loss):
            return f"the loss is {self.loss}"
        return "" if bool(torch.isfinite(self.gradient).all()) else "the gradient is not finite"


def bend(
    objective: Objective,
    *,
    operator: Operator = "hessian",
    products: Method = "exact",
    preconditioner: Literal["adam"] | torch.Tensor | None = None,
) -> Bend:
    """The operator on an objective's batches; arguments as in `curvature`.

    Raises:
        InputError: if an argument is out of its range.
        SubjectError: if the subject cannot be differentiated as asked.
    """
    _check(operator, products)
    if operator == "fisher":
        require_likelihood(objective)
    found = [objective.gradient(batch) for batch in objective.batches]
    loss = sum(value for value, _ in found) / len(found)
    gradient = sum((one for _, one in found[1:]), found[0][1].clone()) / len(found)
    pairs = zip(objective.batches, (one for _, one in found), strict=True)
    times = _mean([_maker(objective, operator, products, batch, base) for batch, base in pairs])
    if preconditioner is None:
        return Bend(times, loss, gradient, "")
    chosen = _preconditioner(objective, preconditioner, gradient)
    root = chosen.inverse_root
    return Bend(lambda vector: root * times(root * vector), loss, root * gradient, chosen.source)


def _maker(
    objective: Objective, operator: Operator, products: Method, batch: Any, base: torch.Tensor
) -> Callable[[], Times]:
    if operator != "hessian":
        return lambda: gauss_newton_product(objective, batch)
    if products == "difference":
        return lambda: objective.difference(batch, base=base)
    return lambda: objective.product(batch)


def _mean(makers: list[Callable[[], Times]]) -> Times:
    """The mean of the batches' products; each batch's graph is built when it is first needed."""
    kept: dict[int, Times] = {}

    def one(place: int, vector: torch.Tensor) -> torch.Tensor:
        if len(makers) > _GRAPHS:
            return makers[place]()(vector)
        if place not in kept:
            kept[place] = makers[place]()
        return kept[place](vector)

    def times(vector: torch.Tensor) -> torch.Tensor:
        total = one(0, vector)
        for place in range(1, len(makers)):
            total = total + one(place, vector)
        return total / len(makers)

    return times


def _preconditioner(objective: Objective, given: str | torch.Tensor, gradient: torch.Tensor) -> Preconditioner:
    if isinstance(given, torch.Tensor):
        return diagonal_preconditioner(objective, given)
    if given != "adam":
        raise InputError(
            f"curvature: preconditioner must be 'adam', a vector or None, got {given!r}. None is for plain SGD."
        )
    return adam_preconditioner(objective, gradient)


def _check(operator: str, products: str) -> None:
    if operator not in OPERATORS:
        raise InputError(f"curvature: operator must be one of {', '.join(OPERATORS)}, got {operator!r}. Leave it out.")
    if products not in METHODS:
        raise InputError(f"curvature: products must be one of {', '.join(METHODS)}, got {products!r}. Leave it out.")
    if products == "difference" and operator != "hessian":
        raise InputError(
            f"curvature: products must be exact with operator {operator}, got 'difference'. "
            "Differences of gradients give the Hessian alone."
        )
