"""One forward pass of a batch-normalized network in each type, over the scale of its weights."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from gainstage.lab.apparatus.devices import device_of
from gainstage.lab.apparatus.overflow import (
    DTYPES,
    beyond,
    drawn_batch,
    first_overflow,
    he_network,
    log_ratio,
    scaled,
    scales,
)
from gainstage.lab.catalogue.numbers.overflow_before_bn import HALF, WIDE, OverflowDesign
from gainstage.lab.judge import Row, number
from gainstage.sweep.references import resolve

# What float16 rounds to infinity: half a step beyond 65504, its largest number.
ROUNDS_TO_INFINITY = 65520.0


def measure(design: OverflowDesign, seed: int) -> list[Row]:
    """float16 with norms in float32; and where the running variance overflows if the norm is in float16 too."""
    model, inputs = _subject(design, seed)
    return [*_scan(design, model, inputs, HALF), _norm_in_half(design, model, inputs)]


def control(design: OverflowDesign, seed: int) -> list[Row]:
    """The same network in the types with a wide range."""
    model, inputs = _subject(design, seed)
    return [row for name in WIDE for row in _scan(design, model, inputs, name)]


@torch.no_grad()
def largest_product(model: nn.Sequential, inputs: Tensor) -> float:
    """The largest |z| of any map's output, in float64."""
    values, found = inputs.double(), 0.0
    for part in copy.deepcopy(model).double():
        values = part(values)
        if isinstance(part, (nn.Linear, nn.Conv2d)):
            found = max(found, float(values.abs().max()))
    return found


def _subject(design: OverflowDesign, seed: int) -> tuple[nn.Sequential, Tensor]:
    options = {"width": design.width, "norm": "batch", **({"depth": design.depth} if design.depth else {})}
    model = he_network(resolve(design.network), seed, **options)
    device, (inputs, _) = device_of(design.device), drawn_batch(design.data, design.batch, seed)
    return nn.Sequential(*model.children()).to(device), inputs.to(device)


@torch.no_grad()
def _scan(design: OverflowDesign, model: nn.Sequential, inputs: Tensor, name: str) -> list[Row]:
    grid = scales(design.decades, design.per_decade)
    rows: list[Row] = []
    for scale in grid:
        parts = list(scaled(copy.deepcopy(model), scale).children())
        found = first_overflow(parts, inputs, None, dtype=DTYPES[name], autocast=design.autocast)
        rows.append({
            "kind": "scale", "dtype": name, "scale": scale, "op": found and found.op,
            "product": found and found.product, "nan": found.nan if found else 0, "inf": found.inf if found else 0,
        })  # fmt: skip
    broken = [row for row in rows if row["op"] is not None]
    first = number(broken[0]["scale"]) if broken else beyond(grid)
    threshold: Row = {
        "kind": "threshold", "dtype": name, "overflows": len(broken), "log_scale": math.log10(first),
        "log_ratio": log_ratio(first, ROUNDS_TO_INFINITY / largest_product(model, inputs)),
        "in_norm_first": sum(row["op"] not in ("product", "weight") for row in broken),
    }  # fmt: skip
    return [*rows, threshold]


@torch.no_grad()
def _norm_in_half(design: OverflowDesign, model: nn.Sequential, inputs: Tensor) -> Row:
    grid = scales(design.decades, design.per_decade)
    lost = (scale for scale in grid if not _variance_fits(scaled(copy.deepcopy(model), scale), inputs))
    return {"kind": "norm in half", "log_scale": math.log10(next(lost, beyond(grid)))}


def _variance_fits(model: nn.Module, inputs: Tensor) -> bool:
    model.half()(inputs.half())
    return all(bool(buffer.isfinite().all()) for buffer in model.buffers() if buffer.is_floating_point())
