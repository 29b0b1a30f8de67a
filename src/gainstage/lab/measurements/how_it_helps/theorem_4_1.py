"""Both sides of Theorem 4.1 by automatic differentiation, in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gainstage.lab.catalogue.how_it_helps.theorem_4_1 import STANDARD_EPS, BoundDesign
from gainstage.lab.judge import Row
from gainstage.seeding import generator

_HIDDEN, _CLASSES = 16, 5


@dataclass(frozen=True)
class Problem:
    """A layer's preactivations y (m, units) on a batch, γ and β, and the loss of what follows the norm."""

    y: Tensor
    gamma: Tensor
    beta: Tensor
    rest: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Sides:
    """One entry a unit.

    Attributes:
        left: ‖∇_y L̂‖².
        right: The theorem's right side, with ∇L at the norm's output.
        literal: The same with ∇L of the network without the norm, at y.
        whole: (γ²/σ²)‖∇L‖², by which the first two are measured.
        output: ‖∇L‖² at the norm's output.
        sigma: √(σ² + ε).
    """

    left: Tensor
    right: Tensor
    literal: Tensor
    whole: Tensor
    output: Tensor
    sigma: Tensor


def sides(problem: Problem, eps: float, *, constant: bool = False) -> Sides:
    """Both sides, unit by unit.

    Args:
        problem: The layer and what follows it.
        eps: Of the norm.
        constant: Whether the backward pass takes μ and σ for constants.
    """
    y = problem.y.clone().requires_grad_()
    seen = y.detach() if constant else y
    mean, sigma = seen.mean(0), (seen.var(0, correction=0) + eps).sqrt()
    unit = (y - mean) / sigma
    z = problem.gamma * unit + problem.beta
    left, at_output = torch.autograd.grad(problem.rest(z), (y, z))
    plain = problem.y.clone().requires_grad_()
    (at_y,) = torch.autograd.grad(problem.rest(plain), plain)
    factor = (problem.gamma / sigma.detach()) ** 2
    unit = unit.detach()
    whole = factor * at_output.square().sum(0)
    return Sides(
        left.square().sum(0), factor * _kept(at_output, unit), factor * _kept(at_y, unit), whole,
        at_output.square().sum(0), sigma.detach(),
    )  # fmt: skip


def random_problem(batch: int, features: int, units: int, draws: torch.Generator) -> Problem:
    """A normal batch through a linear layer, and a random network with a random loss behind it."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draws, dtype=torch.float64)

    inputs, weight = normal(batch, features) + normal(features), normal(features, units) / features**0.5
    gamma = normal(units).exp() * normal(units).sign()
    first, last = normal(units, _HIDDEN) / units**0.5, normal(_HIDDEN, _CLASSES) / _HIDDEN**0.5
    activation = torch.tanh if torch.rand(1, generator=draws) < 0.5 else torch.relu
    classes = torch.rand(1, generator=draws) < 0.5
    labels, targets = torch.randint(_CLASSES, (batch,), generator=draws), normal(batch, _CLASSES)

    def rest(z: Tensor) -> Tensor:
        outputs = activation(z @ first) @ last
        return F.cross_entropy(outputs, labels) if classes else F.mse_loss(outputs, targets)

    return Problem(inputs @ weight, gamma, normal(units), rest)


def measure(design: BoundDesign, seed: int) -> list[Row]:
    """One row for each network, with and without ε."""
    return [
        row
        for batch in design.batches
        for eps in (0.0, STANDARD_EPS)
        for row in _rows(design, seed, batch, eps, constant=False)
    ]


def control(design: BoundDesign, seed: int) -> list[Row]:
    """The same networks with statistics that are constants of the backward pass."""
    return [row for batch in design.batches for row in _rows(design, seed, batch, 0.0, constant=True)]


def _rows(design: BoundDesign, seed: int, batch: int, eps: float, *, constant: bool) -> list[Row]:
    draws = generator(seed, "theorem-4-1", str(batch))
    found: list[Row] = []
    for index in range(design.problems):
        problem = random_problem(batch, design.features, design.units, draws)
        told: Row = {"problem": index, "batch": batch, "smallest": batch == min(design.batches), "eps": eps}
        for wide, row in _by_width(problem, sides(problem, eps, constant=constant)):
            found.append({**told, "wide": wide, **row})
    return found


def _by_width(problem: Problem, found: Sides) -> list[tuple[bool, Row]]:
    """The units with |γ| > σ and the others; a row for each that there are."""
    wide = problem.gamma.abs() > found.sigma
    return [(value, _figures(found, wide == value)) for value in (True, False) if bool((wide == value).any())]


def _figures(found: Sides, units: Tensor) -> Row:
    left, right, literal = (side[units] / found.whole[units] for side in (found.left, found.right, found.literal))
    excess = left - right
    return {
        "left": float(left.mean()), "right": float(right.mean()), "excess": float(excess.max()),
        "least_excess": float(excess.min()), "gap": float(excess.abs().mean()),
        "literal_violated": float((left > literal).double().mean()),
        "longer": float((found.left > found.output)[units].double().mean()),
    }  # fmt: skip


def _kept(gradient: Tensor, unit: Tensor) -> Tensor:
    """‖g‖² - ⟨1, g⟩²/m - ⟨g, ŷ⟩²/m, unit by unit."""
    m = len(gradient)
    return gradient.square().sum(0) - gradient.sum(0) ** 2 / m - (gradient * unit).sum(0) ** 2 / m
