"""The first scale of the weights at which a step in float16 meets a value that is not finite, by depth."""

from __future__ import annotations

import copy
import math

import torch

from gainstage.lab.apparatus.devices import device_of
from gainstage.lab.apparatus.networks import mlp
from gainstage.lab.apparatus.overflow import (
    beyond,
    drawn_batch,
    first_overflow,
    he_network,
    scaled,
    scales,
)
from gainstage.lab.catalogue.numbers.bn_fewer_overflows import NORMS, DepthDesign
from gainstage.lab.judge import Row


def measure(design: DepthDesign, seed: int) -> list[Row]:
    """Forward pass and gradients of the whole network, at each depth."""
    return [_row(design, seed, depth, norm, whole=True) for depth in design.depths for norm in NORMS]


def control(design: DepthDesign, seed: int) -> list[Row]:
    """The first map of the deepest network alone."""
    return [_row(design, seed, design.depths[-1], norm, whole=False) for norm in NORMS]


def _row(design: DepthDesign, seed: int, depth: int, norm: str, *, whole: bool) -> Row:
    device = device_of(design.device)
    inputs, targets = (tensor.to(device) for tensor in drawn_batch(design.data, design.batch, seed))
    model = he_network(mlp, seed, depth=depth, width=design.width, norm=norm, inputs=inputs.shape[1]).to(device)
    grid = scales(design.decades, design.per_decade)
    for scale in grid:
        parts = list(scaled(copy.deepcopy(model), scale).children())[: None if whole else 1]
        classes = targets if whole else None
        found = first_overflow(parts, inputs, classes, dtype=torch.float16, autocast=design.autocast)
        if found:
            figures: Row = {"log_scale": math.log10(scale), "op": found.op, "product": found.product}
            return {"depth": depth, "norm": norm, **figures}
    # Nothing overflows on the grid: the next point stands for where it might.
    return {"depth": depth, "norm": norm, "log_scale": math.log10(beyond(grid)), "op": None, "product": None}
