"""Accuracy, and the way from the initial to the trained weights, over the initial scale."""

from __future__ import annotations

import math

from torch import Tensor, nn

from gainstage.lab.apparatus.data import digits
from gainstage.lab.apparatus.networks import mlp
from gainstage.lab.apparatus.stepping import batches, initialized, sgd_step, test_accuracy
from gainstage.lab.catalogue.confrontations.initial_weights import StartDesign
from gainstage.lab.judge import Row


def measure(design: StartDesign, seed: int) -> list[Row]:
    """A row for each norm and scale."""
    return [_row(design, seed, norm, scale) for norm in ("none", "batch") for scale in design.scales]


def way(before: Tensor, after: Tensor, *, rays: bool) -> float:
    """‖W₀ - W‖² for a layer; with ``rays`` to the nearest c·w, c > 0, of each row w."""
    if not rays:
        return float((before - after).square().sum())
    along = (before * after).sum(1) / after.square().sum(1).clamp(min=1e-30)
    return float((before - along.clamp(min=0).unsqueeze(1) * after).square().sum())


def _row(design: StartDesign, seed: int, norm: str, scale: float) -> Row:
    data = digits()
    model = mlp(design.depth, design.width, "relu", norm)
    initialized(model, seed, scale=scale)
    before = _hidden(model)
    finite = True
    for inputs, targets in batches(data, seed, design.batch, design.steps):
        finite = math.isfinite(sgd_step(model, inputs, targets, design.lr))
        if not finite:
            break
    after = _hidden(model)
    finite = finite and all(bool(weight.isfinite().all()) for weight in after)
    length = sum(float(weight.square().sum()) for weight in before)
    total = sum(way(one, other, rays=norm == "batch") for one, other in zip(before, after, strict=True))
    return {
        "norm": norm, "scale": scale, "test_accuracy": test_accuracy(model, data) if finite else 0.1,
        "distance": math.sqrt(total / length) if finite else None,
    }  # fmt: skip


def _hidden(model: nn.Sequential) -> list[Tensor]:
    maps = [layer.weight.detach().clone() for layer in model if isinstance(layer, nn.Linear)]
    return maps[:-1]
