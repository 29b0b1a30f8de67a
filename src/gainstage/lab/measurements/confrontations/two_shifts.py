"""Both kinds of internal covariate shift of one layer, at the same steps of the same training."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gainstage.lab.apparatus.data import digits
from gainstage.lab.apparatus.networks import mlp
from gainstage.lab.apparatus.stepping import batches, initialized, sgd_step
from gainstage.lab.catalogue.confrontations.two_shifts import ShiftDesign
from gainstage.lab.judge import Row

_PROBE = 256


def measure(design: ShiftDesign, seed: int) -> list[Row]:
    """A row for each step that is looked at, of each norm and learning rate."""
    return [row for norm in ("none", "batch") for lr in design.lrs for row in _training(design, seed, norm, lr)]


def _training(design: ShiftDesign, seed: int, norm: str, lr: float) -> list[Row]:
    data = digits()
    model = mlp(design.depth, design.width, "relu", norm)
    initialized(model, seed)
    watched = [place for place, layer in enumerate(model) if isinstance(layer, nn.Linear)][design.layer - 1]
    probe, rows = data.train_inputs[:_PROBE], list[Row]()
    for step, (inputs, targets) in enumerate(batches(data, seed, design.batch, design.steps)):
        if step % design.every:
            sgd_step(model, inputs, targets, lr)
            continue
        before = layer_inputs(model, watched, probe)
        gradient = gradient_shift(model, watched, inputs, targets, lr)
        sgd_step(model, inputs, targets, lr)
        moved = movement(before, layer_inputs(model, watched, probe))
        rows.append({"norm": norm, "lr": lr, "step": step, "inputs": _log(moved), "gradients": _log(gradient)})
    return rows


@torch.no_grad()
def layer_inputs(model: nn.Sequential, watched: int, inputs: Tensor) -> Tensor:
    """What the watched layer sees of a batch, with batch statistics; running statistics are put back."""
    kept = {name: value.clone() for name, value in model.named_buffers()}
    seen = model[:watched](inputs)
    for name, value in model.named_buffers():
        value.copy_(kept[name])
    return seen


def movement(before: Tensor, after: Tensor) -> float:
    """Mean over units of |Δ mean|/std; NaN if no unit varies."""
    std = before.std(0)
    alive = std > 1e-6
    return float(((after.mean(0) - before.mean(0)).abs()[alive] / std[alive]).mean())


def gradient_shift(model: nn.Sequential, watched: int, inputs: Tensor, targets: Tensor, lr: float) -> float:
    """‖G - G'‖/‖G‖: G' after the parameters in front of the watched layer have made their step."""
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    weight = model[watched].weight
    assert isinstance(weight, Tensor)
    front = list(model[:watched].parameters())
    loss = F.cross_entropy(model(inputs), targets)
    gradient, *steps = torch.autograd.grad(loss, [weight, *front])
    with torch.no_grad():
        for parameter, step in zip(front, steps, strict=True):
            parameter.sub_(step, alpha=lr)
    (moved,) = torch.autograd.grad(F.cross_entropy(model(inputs), targets), [weight])
    model.load_state_dict(kept)
    return float((moved - gradient).norm() / gradient.norm())


def _log(value: float) -> float | None:
    return math.log(value) if math.isfinite(value) and value > 0 else None
