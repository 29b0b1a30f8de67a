"""A deep linear net with and without batch norm, by full-batch gradient descent, through its second moments alone.

A linear net on a fixed batch depends on the samples through their mean and second moment. With x = μ + Ru, R a Cholesky
factor, and H the map from u to a layer's values, batch norm divides each row of H by its length (and adds ε under the
root); shifts of all norms but the last are taken away by the next one. So a pass costs 10×10 products and no sample is
looked at; the tests compare it with torch's modules on the samples.
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
    """Samples x and their targets Ax, as moments.

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
    """W of all layers, and γ of all norms and β of the last, in one vector.

    Attributes:
        kind: ``none``; ``batch``; ``fixed``, a norm of which only the scale γ is left.
    """

    kind: str
    layers: int
    size: int
    vector: Array

    def parts(self, vector: Array) -> tuple[Array, Array, Array]:
        """W (layers, size, size), γ (layers - 1, size), β (size); views."""
        weights = self.layers * self.size**2
        scales = weights + (self.layers - 1) * self.size
        return (
            vector[:weights].reshape(self.layers, self.size, self.size),
            vector[weights:scales].reshape(self.layers - 1, self.size),
            vector[scales:],
        )


def samples(design: DeepLinearDesign, seed: int) -> tuple[Array, Array]:
    """x of shape (samples, size) and A, all standard normal."""
    draws = generator(seed, "dln-smoothness", "task")
    x = torch.randn(design.samples, design.size, generator=draws, dtype=torch.float64)
    return x.numpy(), torch.randn(design.size, design.size, generator=draws, dtype=torch.float64).numpy()


def task(x: Array, matrix: Array, *, centred: bool) -> Task:
    """The moments of samples and targets."""
    mean = x.mean(0) if centred else np.zeros(x.shape[1])
    root = np.linalg.cholesky((x - mean).T @ (x - mean) / len(x))
    return Task(root, matrix @ root, matrix @ mean, len(x))


def new_net(design: DeepLinearDesign, seed: int, kind: str) -> Net:
    """Glorot's uniform weights, the same for all kinds; γ = 1, β = 0."""
    layers, size = design.layers, design.size
    draws = generator(seed, "dln-smoothness", "weights")
    uniform = 2 * torch.rand(layers * size * size, generator=draws, dtype=torch.float64).numpy() - 1
    weights = uniform * math.sqrt(6 / (2 * size))
    return Net(kind, layers, size, np.concatenate([weights, np.ones((layers - 1) * size), np.zeros(size)]))


def gradient(net: Net, point: Array, problem: Task) -> tuple[float, Array]:
    """Σ‖f(x) - Ax‖² over the samples, and its gradient; a plain net's γ and β have none."""
    weights, scales, shift = net.parts(point)
    found = np.zeros_like(point)
    d_weights, d_scales, d_shift = net.parts(found)
    inputs, units, sigmas = _forward(net, weights, scales, problem.root)
    last, outputs = weights[-1], weights[-1] @ inputs[-1]
    residual = outputs - problem.target
    missing = last @ shift - problem.offset if net.kind == "batch" else np.zeros(net.size)
    loss = problem.samples * float((residual**2).sum() + missing @ missing)
    residual, missing = 2 * problem.samples * residual, 2 * problem.samples * missing
    d_weights[-1] = residual @ inputs[-1].T + np.outer(missing, shift)
    if net.kind == "batch":
        d_shift[:] = missing @ last
    back = last.T @ residual
    for layer in range(net.layers - 2, -1, -1):
        if net.kind != "none":
            along = np.einsum("ij,ij->i", back, units[layer])
            d_scales[layer] = along
            if net.kind == "batch":
                back = back - units[layer] * along[:, None]
                back *= (scales[layer] / sigmas[layer])[:, None]
            else:
                back = back * scales[layer][:, None]
        d_weights[layer] = back @ inputs[layer].T
        back = weights[layer].T @ back
    return loss, found


def _forward(net: Net, weights: Array, scales: Array, root: Array) -> tuple[list[Array], list[Array], list[Array]]:
    """What enters each layer, what its norm makes of it before γ, and by what that was divided."""
    inputs, units, sigmas = [root], list[Array](), list[Array]()
    for layer in range(net.layers - 1):
        h = weights[layer] @ inputs[-1]
        if net.kind == "batch":
            sigma = np.sqrt(np.einsum("ij,ij->i", h, h) + EPS)
            h = h / sigma[:, None]
            sigmas.append(sigma)
        units.append(h)
        inputs.append(h if net.kind == "none" else h * scales[layer][:, None])
    return inputs, units, sigmas


def measure(design: DeepLinearDesign, seed: int) -> list[Row]:
    """A row each look, without a norm and with it."""
    return [row for kind in KINDS[:2] for row in run(design, seed, kind)]


def control(design: DeepLinearDesign, seed: int) -> list[Row]:
    """The same without a norm and with an idle one."""
    return [row for kind in (KINDS[0], KINDS[2]) for row in run(design, seed, kind)]


def run(design: DeepLinearDesign, seed: int, kind: str) -> list[Row]:
    """Full-batch gradient descent of one net; its loss, and how smooth that is along the gradient, at each look."""
    net, problem = new_net(design, seed, kind), task(*samples(design, seed), centred=kind == "batch")
    rows: list[Row] = []
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(design.steps + 1):
            loss, slope = gradient(net, net.vector, problem)
            if step % design.every == 0:
                figures = look(design, net, problem, loss, slope)
                told: Row = {"norm": kind, "lr": design.lr, "step": step}
                finite = all(map(math.isfinite, figures.values()))
                shown: Row = {name: value if math.isfinite(value) else None for name, value in figures.items()}
                rows.append({**told, **shown, "diverged": not finite})
            net.vector -= design.lr * slope
    return rows


def look(design: DeepLinearDesign, net: Net, problem: Task, loss: float, slope: Array) -> dict[str, float]:
    """The loss, and the three measures over steps along the gradient, evenly from the smallest to the largest."""
    length, found = float(np.linalg.norm(slope)), list[tuple[float, float]]()
    sizes = [float(step) for step in np.linspace(*design.reach, design.count) * design.lr]
    for size in sizes:
        there, turned = gradient(net, net.vector - size * slope, problem)
        found.append((there, float(np.linalg.norm(turned - slope))))
    losses, changes = zip(*found, strict=True)
    slopes = [change / (size * length) for size, change in zip(sizes, changes, strict=True)]
    figures = (max(losses) - min(losses), max(changes), max(slopes))
    return {"loss": loss, **dict(zip(MEASURES, figures, strict=True))}
