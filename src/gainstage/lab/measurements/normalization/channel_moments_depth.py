"""Moments of the channels over one batch, at each block of a network at initialization."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gainstage.lab.apparatus.at_start import at_start, batches, placed
from gainstage.lab.catalogue.designs import Net
from gainstage.lab.catalogue.normalization.channel_moments_depth import CONTROL_INIT, MomentsDesign
from gainstage.lab.judge import Row
from gainstage.sweep import Data

Moments = tuple[float, float]


def measure(design: MomentsDesign, seed: int) -> list[Row]:
    """All networks, with and without batch norm, on the same batch."""
    data = placed(design.data, design.device)
    cases = [(net, init, norm) for net, init in design.cases for norm in ("none", "batch")]
    return [row for net, init, norm in cases for row in _rows(design, data, seed, net, init, norm)]


def control(design: MomentsDesign, seed: int) -> list[Row]:
    """The judged network without a norm and with branches over the root of their number."""
    data = placed(design.data, design.device)
    return _rows(design, data, seed, design.nets[0], CONTROL_INIT, "none")


def moments(model: nn.Module, inputs: Tensor) -> list[Moments]:
    """Variance and squared mean of the channels over a batch (and positions), means over channels, place by place.

    Places are the outputs of the residual blocks; of a network without them those of its linear maps but the last.
    """
    found: list[Moments] = []
    hooks = [
        place.register_forward_hook(lambda _m, _i, output: found.append(_moments(output))) for place in _places(model)
    ]
    try:
        with torch.no_grad():
            model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def slope(values: Sequence[float]) -> float | None:
    """Least-squares slope of the logarithms over 1, 2, ...; None if one is not a positive finite number."""
    if len(values) < 2 or not all(0 < value < math.inf for value in values):
        return None
    middle = (len(values) - 1) / 2
    scale = sum((place - middle) ** 2 for place in range(len(values)))
    return sum((place - middle) * math.log(value) for place, value in enumerate(values)) / scale


def _places(model: nn.Module) -> list[nn.Module]:
    inner = [module for module in model.modules() if module is not model]
    blocks = [module for module in inner if [*module.children()] and not isinstance(module, nn.Sequential)]
    maps = [module for module in inner if isinstance(module, (nn.Linear, nn.Conv2d))]
    return blocks or [*maps[:-1]]


def _moments(output: Tensor) -> Moments:
    channels = output.double().transpose(0, 1).flatten(1)
    return float(channels.var(1, correction=0).mean()), float(channels.mean(1).square().mean())


def _rows(design: MomentsDesign, data: Data, seed: int, net: Net, init: str, norm: str) -> list[Row]:
    model = at_start(net, norm, init, seed, data=data)
    (inputs, _), *_ = batches(data, 1, design.batch, seed)
    found = moments(model, inputs)
    what: Row = {"net": net.label, "init": init, "norm": norm}
    rows: list[Row] = [
        {"kind": "place", **what, "depth": place + 1, "variance": variance, "squared_mean": mean}
        for place, (variance, mean) in enumerate(found)
    ]
    variances, means = zip(*found, strict=True)
    return [*rows, {"kind": "net", **what, "variance_slope": slope(variances), "mean_slope": slope(means)}]
