"""Perceptrons trained from equal and from unequal weights; how far the units of a layer come apart."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gainstage.lab.apparatus.networks import mlp
from gainstage.lab.catalogue.initialization.symmetry_breaking import SymmetryDesign
from gainstage.lab.judge import Row
from gainstage.seeding import generator, preserved_rng
from gainstage.sweep import Data
from gainstage.sweep.references import resolve


def measure(design: SymmetryDesign, seed: int) -> list[Row]:
    """Equal weights; then unequal ones that are not random, and equal ones under dropout."""
    return [row for case in ("equal", "cosine", "dropout") for row in _rows(design, seed, case)]


def control(design: SymmetryDesign, seed: int) -> list[Row]:
    """Random weights."""
    return list(_rows(design, seed, "random"))


def initial(case: str, shape: tuple[int, int], draws: torch.Generator) -> Tensor:
    """The weights of one layer, (units, inputs), each with a mean square of about 1/inputs unless all are equal."""
    units, inputs = shape
    if case == "random":
        return torch.randn(units, inputs, generator=draws).double() / math.sqrt(inputs)
    if case == "cosine":
        across = torch.arange(inputs).double() + 0.5
        return torch.cos(math.pi / inputs * torch.arange(1, units + 1).double()[:, None] * across) * math.sqrt(
            2 / inputs
        )
    # 1/inputs: the mean of the inputs, so that the scale stays through equal layers
    return torch.full((units, inputs), 1 / inputs, dtype=torch.float64)


def asymmetry(weight: Tensor) -> float:
    """The largest distance between two rows over the norm of the largest; 0 if all are equal."""
    return float(torch.cdist(weight, weight, compute_mode=_EXACT).max() / weight.norm(dim=1).max())


def distinct_rows(weight: Tensor, tolerance: float) -> int:
    """Rows that no earlier row equals, up to the tolerance relative to the largest row's norm."""
    near = torch.cdist(weight, weight, compute_mode=_EXACT) <= tolerance * weight.norm(dim=1).max()
    return sum(not bool(near[row, :row].any()) for row in range(len(weight)))


def rank(weight: Tensor, tolerance: float) -> int:
    """Singular values beyond the tolerance relative to the largest."""
    values = torch.linalg.svdvals(weight)
    return int((values > tolerance * values[0]).sum())


_EXACT = "donot_use_mm_for_euclid_dist"  # the fast way loses half the digits


def _network(design: SymmetryDesign, seed: int, case: str, inputs: int) -> nn.Sequential:
    with preserved_rng(seed):  # torch's own draws, which are all replaced
        model = mlp(design.depth, design.width, "tanh", inputs=inputs).double()
    draws = generator(seed, "symmetry-breaking", case)
    with torch.no_grad():
        for layer in _layers(model):
            layer.weight.copy_(initial(case, (layer.out_features, layer.in_features), draws))
            layer.bias.zero_()
    return model


def _layers(model: nn.Sequential) -> list[nn.Linear]:
    return [layer for layer in model if isinstance(layer, nn.Linear)]


def _rows(design: SymmetryDesign, seed: int, case: str) -> Iterator[Row]:
    data: Data = resolve(design.data)()
    inputs, targets = data.train_inputs.double(), data.train_targets
    model = _network(design, seed, case, inputs.shape[1])
    start = [layer.weight.detach().clone() for layer in _layers(model)[:-1]]
    draws = generator(seed, "symmetry-breaking", "batches")
    masks = generator(seed, "symmetry-breaking", "masks")
    for step in range(design.steps + 1):
        if step % design.measure_every == 0 or step == design.steps:
            yield {"case": case, "step": step, **_figures(model, start, data, design.tolerance)}
        batch = torch.randint(len(inputs), (design.batch_size,), generator=draws)
        keep = 1 - design.dropout if case == "dropout" else 1.0
        loss = F.cross_entropy(_outputs(model, inputs[batch], keep, masks), targets[batch])
        parameters = list(model.parameters())
        with torch.no_grad():
            for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter -= design.lr * gradient


def _outputs(model: nn.Sequential, inputs: Tensor, keep: float, draws: torch.Generator) -> Tensor:
    """The outputs, with dropout behind each activation from a generator of its own."""
    h = inputs
    for layer in model:
        h = cast("Tensor", layer(h))
        if keep < 1 and isinstance(layer, nn.Tanh):
            h = h * (torch.rand(h.shape, generator=draws) < keep) / keep
    return h


def _figures(model: nn.Sequential, start: list[Tensor], data: Data, tolerance: float) -> Row:
    weights = [layer.weight.detach() for layer in _layers(model)[:-1]]
    with torch.no_grad():
        predicted = model(data.test_inputs.double()).argmax(1)
    return {
        "asymmetry": max(map(asymmetry, weights)),
        "units": min(distinct_rows(weight, tolerance) for weight in weights),
        "rank": min(rank(weight, tolerance) for weight in weights),
        "moved": min(float((now - then).norm() / then.norm()) for now, then in zip(weights, start, strict=True)),
        "accuracy": float((predicted == data.test_targets).double().mean()),
    }
