"""A deep linear net with and without batch norm, by full-batch gradient descent, through its second moments alone.

A linear net on a fixed batch depends on the samples through their mean and second moment. With x = μ + Ru, R a Cholesky
factor, and H the map from u to a layer's values, batch norm divides each row of H by its length (and adds ε under the
root); shifts of all norms but the last are taken away by the next one. So a pass costs 10×10 products and no sample is
looked at; the tests compare it with torch's modules on the samples. Several nets, each with a task of its own, are
computed at once: all arrays have the nets as their first dimension.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from gainstage.lab.catalogue.how_it_helps.dln_smoothness import KINDS, MEASURES, DeepLinearDesign
from gainstage.lab.judge import Row
from gainstage.seeding import generator

Array = NDArray[np.float64]
EPS = 1e-5


@dataclass(frozen=True)
class Task:
    """Samples x and their targets Ax, as moments, for each net.

    Attributes:
        root: R of the samples' covariance, or of their second moment for a net that does not centre.
        target: AR.
        offset: Aμ, which a net that centres must put back; zeros for one that does not.
        samples: How many.
    """

    root: Array
    target: Array
    offset: Array
    samples: int


@dataclass
class Net:
    """W of all layers, and γ of all norms and β of the last, in one row of a matrix for each net.

    Attributes:
        kind: ``none``; ``batch``; ``fixed``, a norm of which only the scale γ is left.
    """

    kind: str
    layers: int
    size: int
    vectors: Array

    def parts(self, vectors: Array) -> tuple[Array, Array, Array]:
        """W (layers, nets, size, size), γ (layers - 1, nets, 1, size), β (nets, 1, size); views."""
        nets, size = len(vectors), self.size
        weights = self.layers * size**2
        scales = weights + (self.layers - 1) * size
        return (
            vectors[:, :weights].reshape(nets, self.layers, size, size).swapaxes(0, 1),
            vectors[:, weights:scales].reshape(nets, self.layers - 1, 1, size).swapaxes(0, 1),
            vectors[:, None, scales:],
        )


def samples(design: DeepLinearDesign, seed: int) -> tuple[Array, Array]:
    """x of shape (nets, samples, size) and A of shape (nets, size, size), all standard normal."""
    draws = generator(seed, "dln-smoothness", "task")

    def normal(rows: int) -> Array:
        return torch.randn(design.nets, rows, design.size, generator=draws, dtype=torch.float64).numpy()

    return normal(design.samples), normal(design.size)


def task(x: Array, matrix: Array, *, centred: bool) -> Task:
    """The moments of samples and targets."""
    mean = x.mean(1, keepdims=True) if centred else np.zeros_like(x[:, :1])
    root = np.linalg.cholesky(_turned(x - mean) @ (x - mean) / x.shape[1])
    return Task(root, matrix @ root, mean @ _turned(matrix), x.shape[1])


def new_net(design: DeepLinearDesign, seed: int, kind: str) -> Net:
    """Glorot's uniform weights, the same for all kinds; γ = 1, β = 0."""
    layers, size = design.layers, design.size
    draws = generator(seed, "dln-smoothness", "weights")
    uniform = 2 * torch.rand(design.nets, layers * size * size, generator=draws, dtype=torch.float64).numpy() - 1
    ones, zeros = np.ones((design.nets, (layers - 1) * size)), np.zeros((design.nets, size))
    return Net(kind, layers, size, np.concatenate([uniform * math.sqrt(6 / (2 * size)), ones, zeros], 1))


def gradient(net: Net, point: Array, problem: Task) -> tuple[Array, Array]:
    """Σ‖f(x) - Ax‖² over the samples of each net, and its gradient; a plain net's γ and β have none."""
    weights, scales, shift = net.parts(point)
    found = np.zeros_like(point)
    d_weights, d_scales, d_shift = net.parts(found)
    # Values are (nets, u, unit), so that γ and a unit's length stand in one row.
    inputs, units, sigmas = _forward(net, weights, scales, problem.root)
    last = weights[-1]
    residual = inputs[-1] @ _turned(last) - _turned(problem.target)
    missing = shift @ _turned(last) - problem.offset if net.kind == "batch" else np.zeros_like(shift)
    losses = problem.samples * ((residual**2).sum((1, 2)) + (missing**2).sum((1, 2)))
    residual, missing = 2 * problem.samples * residual, 2 * problem.samples * missing
    d_weights[-1] = _turned(residual) @ inputs[-1] + _turned(missing) @ shift
    if net.kind == "batch":
        d_shift[:] = missing @ last
    back = residual @ last
    for layer in range(net.layers - 2, -1, -1):
        if net.kind != "none":
            along = np.einsum("nui,nui->ni", back, units[layer])[:, None]
            d_scales[layer] = along
            if net.kind == "batch":
                back = (back - units[layer] * along) * (scales[layer] / sigmas[layer])
            else:
                back = back * scales[layer]
        d_weights[layer] = _turned(back) @ inputs[layer]
        back = back @ weights[layer]
    return losses, found


def _forward(net: Net, weights: Array, scales: Array, root: Array) -> tuple[list[Array], list[Array], list[Array]]:
    """What enters each layer, what its norm makes of it before γ, and by what that was divided."""
    inputs, units, sigmas = [_turned(root)], list[Array](), list[Array]()
    for layer in range(net.layers - 1):
        h = inputs[-1] @ _turned(weights[layer])
        if net.kind == "batch":
            sigma = np.sqrt(np.einsum("nui,nui->ni", h, h) + EPS)[:, None]
            h = h / sigma
            sigmas.append(sigma)
        units.append(h)
        inputs.append(h if net.kind == "none" else h * scales[layer])
    return inputs, units, sigmas


def measure(design: DeepLinearDesign, seed: int) -> list[Row]:
    """A row each net and look, without a norm and with it."""
    return [row for kind in KINDS[:2] for row in run(design, seed, kind, design.steps)]


def control(design: DeepLinearDesign, seed: int) -> list[Row]:
    """The same without a norm and with an idle one, over fewer steps."""
    return [row for kind in (KINDS[0], KINDS[2]) for row in run(design, seed, kind, design.control_steps)]


def run(design: DeepLinearDesign, seed: int, kind: str, steps: int) -> list[Row]:
    """Full-batch gradient descent; the losses, and how smooth they are along the gradient, at each look."""
    net, problem = new_net(design, seed, kind), task(*samples(design, seed), centred=kind == "batch")
    rows: list[Row] = []
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for step in range(steps + 1):
            losses, slopes = gradient(net, net.vectors, problem)
            if step % design.every == 0:
                columns = look(design, net, problem, losses, slopes)
                for index in range(design.nets):
                    figures = {name: float(values[index]) for name, values in columns.items()}
                    rows.append({"norm": kind, "lr": design.lr, "step": step, "net": index, **_told(figures)})
            net.vectors -= design.lr * slopes
    return rows


def _told(figures: dict[str, float]) -> Row:
    shown: Row = {name: value if math.isfinite(value) else None for name, value in figures.items()}
    return {**shown, "diverged": None in shown.values()}


def look(design: DeepLinearDesign, net: Net, problem: Task, losses: Array, slopes: Array) -> dict[str, Array]:
    """The losses, and the three measures over steps along the gradient, evenly from the smallest to the largest."""
    sizes = np.linspace(*design.reach, design.count) * design.lr
    found = [gradient(net, net.vectors - size * slopes, problem) for size in sizes]
    there = np.stack([loss for loss, _ in found])
    changes = np.stack([np.linalg.norm(turned - slopes, axis=1) for _, turned in found])
    beta = (changes / (sizes[:, None] * np.linalg.norm(slopes, axis=1))).max(0)
    figures = (there.max(0) - there.min(0), changes.max(0), beta)
    return {"loss": losses, **dict(zip(MEASURES, figures, strict=True))}


def _turned(matrices: Array) -> Array:
    return matrices.swapaxes(-1, -2)
