"""Random torch networks from stages, and the levels that are measured in them: the twin of `predict`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from gainstage.theory import Activate, Affine, Dropout, Norm, Residual, Stage


class Measured(NamedTuple):
    """Logarithms of mean squares, shape (networks, places)."""

    forward: np.ndarray
    gradient: np.ndarray


def measured(stages: Sequence[Stage], *, inputs: int, networks: int, batch: int = 8, seed: int = 0) -> Measured:
    """Of one sample in each of several networks, behind each stage in the order of `flat`."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # dropout draws from the global one
        runs = [_run(stages, inputs, batch, generator) for _ in range(networks)]
    return Measured(*(np.array([run[side] for run in runs]) for side in (0, 1)))


def flat(levels) -> list:
    """Entries of `predict`, those of a branch before their block."""
    return [inner for entry in levels for inner in (*flat(entry.branch), entry)]


def _run(stages, inputs, batch, generator) -> tuple[list[float], list[float]]:
    x = torch.randn(batch, inputs, generator=generator)
    x = x / x.square().mean(1, keepdim=True).sqrt()
    places: list[torch.Tensor] = []
    out = _through(stages, x.requires_grad_(), places, generator)
    top = torch.randn(out.shape, generator=generator)
    top = top / top.square().mean(1, keepdim=True).sqrt()
    grads = torch.autograd.grad(out, places, top)
    return [_log_square(place) for place in places], [_log_square(grad) for grad in grads]


def _log_square(values: torch.Tensor) -> float:
    return math.log(values[0].detach().square().mean().item())


def _through(stages, x, places, generator):
    for stage in stages:
        if isinstance(stage, Residual):
            x = stage.skip * x + stage.scale * _through(stage.branch, x, places, generator)
        else:
            x = _apply(stage, x, generator)
        places.append(x)
    return x


def _apply(stage, x, generator):
    if isinstance(stage, Affine):
        weight = torch.randn(stage.width, x.shape[1], generator=generator)
        if stage.standardized:
            weight = weight - weight.mean(1, keepdim=True)
            weight = weight / weight.square().mean(1, keepdim=True).sqrt()
        bias = torch.randn(stage.width, generator=generator) * math.sqrt(stage.bias_var)
        return F.linear(x, weight * math.sqrt(stage.weight_var / x.shape[1]), bias)
    if isinstance(stage, Activate):
        return getattr(torch, stage.activation.name, None or getattr(F, stage.activation.name, None))(x)
    if isinstance(stage, Dropout):
        return F.dropout(x, 1 - stage.keep)
    return stage.scale * _norm(stage, x.shape[1])(x)


def _norm(stage: Norm, width: int) -> nn.Module:
    if stage.kind == "batch":
        return nn.BatchNorm1d(width, eps=1e-12)
    if stage.kind == "rms":
        return nn.RMSNorm(width, eps=1e-12)
    return nn.GroupNorm(stage.groups, width, eps=1e-12)
