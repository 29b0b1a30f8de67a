"""Both sides of Lemma 4.5 for one linear neuron, all of it derived in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gainstage.lab.catalogue.how_it_helps.lemma_4_5 import EXAMPLES, Example, LemmaDesign
from gainstage.lab.judge import Row
from gainstage.seeding import generator

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Sides:
    """The lemma's two sides and what they are made of.

    Attributes:
        optimum: W* of the plain network.
        direction: d, the ray t·d with t > 0 of the normalized network's optima.
        nearest: The point of the (closed) ray that is nearest to W₀.
    """

    optimum: Tensor
    direction: Tensor
    nearest: Tensor
    left: Tensor
    right: Tensor


def sides(x: Tensor, y: Tensor, start: Tensor) -> Sides:
    """Both sides of ‖W₀ - Ŵ*‖² ≤ ‖W₀ - W*‖² - (‖W*‖² - ⟨W*, W₀⟩)²/‖W*‖².

    Args:
        x, y, start: Samples (..., n, d), targets (..., n) and W₀ (..., d).

    Returns:
        Tensors (..., d), and (...) for the sides. Where W₀ points away from the ray no optimum is nearest;
        ``left`` is then the infimum ‖W₀‖².
    """
    optimum = _least_squares(x, y)
    direction = _least_squares(_centred(x, -2), _centred(y, -1))
    reach = (_dot(start, direction) / _dot(direction, direction)).clamp(min=0)
    nearest = reach[..., None] * direction
    gap = _dot(optimum, optimum) - _dot(optimum, start)
    right = _dot(start - optimum, start - optimum) - gap**2 / _dot(optimum, optimum)
    return Sides(optimum, direction, nearest, _dot(start - nearest, start - nearest), right)


def plain_loss(w: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Σ (xᵀw - y)² over samples."""
    return (x @ w - y).square().sum()


def normalized_loss(w: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Σ (ẑ - y)² with ẑ = (xᵀw - μ)/σ over the samples; no ε."""
    z = _centred(x @ w, -1)
    return (z / z.square().mean().sqrt() - y).square().sum()


def normalized_gradient(w: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The gradient of `normalized_loss`: -(2/σ) Xᵀ C (I - ẑẑᵀ/n) C y with the centring matrix C."""
    z = _centred(x @ w, -1)
    deviation = z.square().mean().sqrt()
    unit, target = z / deviation, _centred(y, -1)
    return -2 / deviation * (_centred(x, -2).T @ (target - unit * _dot(unit, target) / len(y)))


def measure(design: LemmaDesign, seed: int) -> list[Row]:
    """The two examples, and how often the inequality fails on random problems that have an intercept."""
    return [
        *(_example_row(example, example.y) for example in EXAMPLES),
        _random_row(design, seed, exact=False),
    ]


def control(design: LemmaDesign, seed: int) -> list[Row]:
    """The same problems with y = X W exactly."""
    rows = [_example_row(example, _exact_targets(example)) for example in EXAMPLES]
    return [*rows, _random_row(design, seed, exact=True)]


def _example_row(example: Example, targets: tuple[float, ...]) -> Row:
    x, y, start = (torch.tensor(part, dtype=torch.float64) for part in (example.x, targets, example.start))
    found = sides(x, y, start)
    z, by_autograd = x @ start, _gradient(normalized_loss, start, x, y)
    figures = {
        "mean": z.mean(), "variance": z.var(correction=0), "loss": plain_loss(start, x, y),
        **_pair("gradient", _gradient(plain_loss, start, x, y)), **_pair("bn_gradient", by_autograd),
        "bn_loss": normalized_loss(start, x, y), "bn_loss_on_ray": normalized_loss(found.nearest, x, y),
        **_pair("nearest", found.nearest), "left": found.left, "right": found.right,
    }  # fmt: skip
    derived = {name: float(value) for name, value in figures.items()}
    row: Row = {
        "kind": "example",
        "case": example.name,
        "start_1": example.start[0],
        "start_2": example.start[1],
        **derived,
    }
    row["excess"] = derived["left"] - derived["right"]
    row["alignment"] = float(_dot(start, found.optimum))
    row["optimum_gap"] = float((found.optimum - start).abs().max())
    row["autograd_gap"] = float((by_autograd - normalized_gradient(start, x, y)).abs().max())
    row["bn_gradient_on_ray"] = float(_gradient(normalized_loss, found.nearest, x, y).abs().max())
    if targets == example.y:
        gaps = [abs(derived[name] - value) for name, value in example.closed_form.items()]
        # The hypotheses are checked with the table: W₀ = W*, the ray is optimal, and autograd agrees.
        row["closed_form_error"] = max(*gaps, row["optimum_gap"], row["autograd_gap"], row["bn_gradient_on_ray"])
    return row


def _random_row(design: LemmaDesign, seed: int, *, exact: bool) -> Row:
    draws = generator(seed, "lemma-4-5", "exact" if exact else "mis-specified")

    def normal(*shape: int) -> Tensor:
        return torch.randn(design.problems, *shape, generator=draws, dtype=torch.float64)

    x = normal(design.samples, design.features) + normal(1, design.features)
    y = (x @ normal(design.features, 1))[..., 0]
    if not exact:
        y = y + normal(1) + 0.5 * normal(design.samples)
    start = normal(design.features)
    # Turning W₀ to W*'s side is a draw from the half space in which the lemma claims to hold.
    start = start * torch.sign(_dot(start, _least_squares(x, y)))[:, None]
    found = sides(x, y, start)
    excess = (found.left - found.right) / _dot(start, start)
    return {
        "kind": "random", "case": "exact" if exact else "mis-specified", "problems": design.problems,
        "violated": float((excess > design.tolerance).double().mean()), "excess": float(excess.max()),
        "mean_excess": float(excess.mean()), "predicted_rate": float(_predicted_rate(found).mean()),
    }  # fmt: skip


def _predicted_rate(found: Sides) -> Tensor:
    """1/2 + θ/2π: W₀'s part in the plane of W* and d is isotropic, and must be nearer to d than to W*."""
    a, b = found.optimum, found.direction
    cosine = _dot(a, b) / (_dot(a, a) * _dot(b, b)).sqrt()
    return 0.5 + torch.arccos(cosine.clamp(-1, 1)) / (2 * math.pi)


def _exact_targets(example: Example) -> tuple[float, ...]:
    return tuple(a * example.start[0] + b * example.start[1] for a, b in example.x)


def _gradient(loss: Loss, w: Tensor, x: Tensor, y: Tensor) -> Tensor:
    leaf = w.clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(leaf, x, y), leaf)
    return found


def _pair(name: str, vector: Tensor) -> dict[str, Tensor]:
    return {f"{name}_{index + 1}": value for index, value in enumerate(vector)}


def _least_squares(x: Tensor, y: Tensor) -> Tensor:
    # Normal equations: well conditioned here, and repeatable to the bit, which torch.linalg.lstsq is not.
    return torch.linalg.solve(x.mT @ x, (x.mT @ y[..., None])[..., 0])


def _centred(values: Tensor, dim: int) -> Tensor:
    return values - values.mean(dim, keepdim=True)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1)
