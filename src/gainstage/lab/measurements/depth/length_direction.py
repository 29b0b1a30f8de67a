"""Gaussian halfspace problems, minimized over length and direction apart; expectations by quadrature, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gainstage.lab.catalogue.depth.length_direction import HalfspaceDesign
from gainstage.lab.judge import Row
from gainstage.seeding import generator

# Probabilists' nodes; the logistic function is smooth on the scale of a standard deviation of a few.
_POINTS, _MASSES = (torch.tensor(part) for part in np.polynomial.hermite_e.hermegauss(120))
_WEIGHTS = _MASSES / _MASSES.sum()
_BISECTIONS, _LONGEST = 60, 64.0


@dataclass(frozen=True)
class Problem:
    """z ~ N(mean, second - mean meanᵀ).

    Attributes:
        mean: u.
        second: S = E zzᵀ.
    """

    mean: Tensor
    second: Tensor

    @property
    def best_direction(self) -> Tensor:
        """S⁻¹u."""
        return torch.linalg.solve(self.second, self.mean)

    def along(self, w: Tensor) -> Tensor:
        """zᵀw at the nodes of the quadrature."""
        middle = self.mean @ w
        return middle + (w @ self.second @ w - middle**2).sqrt() * _POINTS

    def loss(self, w: Tensor) -> float:
        """f = E ln(1 + e^(zᵀw))."""
        return float(_WEIGHTS @ torch.nn.functional.softplus(self.along(w)))

    def scaled(self, w: Tensor) -> Tensor:
        """The best multiple of w, by bisection: the derivative by the length rises."""
        unit = w / (w @ self.second @ w).sqrt()
        t, low, high = self.along(unit), -_LONGEST, _LONGEST
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            rising = float(_WEIGHTS @ (t * torch.sigmoid(middle * t))) > 0
            low, high = (low, middle) if rising else (middle, high)
        return unit * ((low + high) / 2)

    def gradient(self, w: Tensor) -> Tensor:
        """∇f = E[φ′] u + E[φ″] Σ w, by Stein's lemma."""
        slope = torch.sigmoid(self.along(w))
        covariance = self.second @ w - self.mean * (self.mean @ w)
        return (_WEIGHTS @ slope) * self.mean + (_WEIGHTS @ (slope * (1 - slope))) * covariance

    def rayleigh(self, w: Tensor) -> float:
        """ρ = -(uᵀw)²/wᵀSw."""
        return float(-((self.mean @ w) ** 2) / (w @ self.second @ w))


def measure(design: HalfspaceDesign, seed: int) -> list[Row]:
    """Length and direction apart, and plain gradient descent beside it."""
    problem = problem_of(design, seed)
    largest = float(torch.linalg.eigvalsh(problem.second)[-1])
    # φ″ ≤ 1/4
    plain = _run_rows(problem, design, seed, "plain", lambda w, _: w - 4 / largest * problem.gradient(w))
    return [*_run_rows(problem, design, seed, "apart", lambda w, _: turned(problem, w, 1.0)), *plain]


def control(design: HalfspaceDesign, seed: int) -> list[Row]:
    """The same with decaying steps."""
    problem = problem_of(design, seed)
    return _run_rows(problem, design, seed, "decaying", lambda w, t: turned(problem, w, 1 / (t + 1)))


def problem_of(design: HalfspaceDesign, seed: int) -> Problem:
    """A random rotation of Σ, and a random direction of the mean."""
    draws = generator(seed, "length-direction")
    values = torch.logspace(0, -math.log10(design.condition), design.dimension, dtype=torch.float64)
    square = torch.randn(design.dimension, design.dimension, generator=draws, dtype=torch.float64)
    axes = torch.linalg.qr(square).Q
    covariance = axes @ torch.diag(values) @ axes.T
    mean = torch.randn(design.dimension, generator=draws, dtype=torch.float64)
    mean = mean * (design.separation / (mean @ torch.linalg.solve(covariance, mean)).sqrt())
    return Problem(mean, covariance + torch.outer(mean, mean))


def turned(problem: Problem, w: Tensor, factor: float) -> Tensor:
    """One step of the direction, w of the best length g = ‖w‖ before and after.

    By w of ∂f/∂w = (g/‖w‖)(I - Sw wᵀ/‖w‖²)∇f(w̃), which is g·c₁/‖w‖·(u - Sw·uᵀw/‖w‖²) with ∇f = c₁u + c₂Sw̃; the step is
    -‖w‖³/(L·g·c₁·uᵀw) times ``factor``, all norms of S.
    """
    largest = torch.linalg.eigvalsh(problem.second)[-1]
    square, inner = w @ problem.second @ w, problem.mean @ w
    slope = problem.gradient(w)
    tangent = slope - problem.second @ w * (w @ slope) / square
    # c₁ from the tangent's own size, since tangent = c₁·(u - Sw·uᵀw/‖w‖²).
    shape = problem.mean - problem.second @ w * inner / square
    first = (tangent @ shape) / (shape @ shape)
    return problem.scaled(w - factor * (-square / (largest * first * inner)) * tangent)


def _run_rows(
    problem: Problem, design: HalfspaceDesign, seed: int, run: str, step: Callable[[Tensor, int], Tensor]
) -> list[Row]:
    best = problem.scaled(problem.best_direction)
    least, lowest = problem.loss(best), problem.rayleigh(best)
    values = torch.linalg.eigvalsh(problem.second)
    rate = 2 * math.log1p(-float(values[0] / values[-1]))
    draws = generator(seed, "length-direction", "start")
    w = problem.scaled(torch.randn(design.dimension, generator=draws, dtype=torch.float64))
    gaps, angles = [problem.loss(w) - least], [problem.rayleigh(w) - lowest]
    for t in range(design.steps):
        w = step(w, t)
        gaps.append(problem.loss(w) - least)
        angles.append(problem.rayleigh(w) - lowest)
    excesses = [_log(angle / angles[0]) - t * rate for t, angle in enumerate(angles)]
    third = design.steps // 3
    last, middle = (_log(gaps[k * third] / gaps[(k - 1) * third]) / third for k in (3, 2))
    every = max(1, design.steps // 50)
    steps: list[Row] = [
        {"kind": "step", "run": run, "step": t, "gap": max(gap, 0.0)} for t, gap in enumerate(gaps) if t % every == 0
    ]
    ratio = last / middle if math.isfinite(last / middle) else None
    return [{"kind": "run", "run": run, "slope_ratio": ratio, "slope": last, "excess": max(excesses)}, *steps]


def _log(value: float) -> float:
    """Below rounding there is no error left."""
    return math.log(max(value, 1e-300))
