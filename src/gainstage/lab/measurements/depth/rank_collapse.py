"""Ranks of a batch's representation by depth in linear residual nets with random weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

import torch
from torch import Tensor

from gainstage.lab.catalogue.depth.rank_collapse import RANKS, CollapseDesign
from gainstage.lab.judge import Row, number
from gainstage.landscape import ranks
from gainstage.seeding import generator


def _batch(h: Tensor) -> Tensor:
    """Each unit's mean square over the batch becomes 1: the theorem's batch norm, diag(M)^(-1/2) H."""
    return h / h.square().mean(-1, keepdim=True).sqrt()


def _centered(h: Tensor) -> Tensor:
    return _batch(h - h.mean(-1, keepdim=True))


def _layer(h: Tensor) -> Tensor:
    return h / h.square().mean(-2, keepdim=True).sqrt()


def _whole(h: Tensor) -> Tensor:
    """One factor for all: no rank depends on it, and it keeps the products of many layers in range."""
    return h / h.square().mean().sqrt()


NORMS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "batch": _batch,
    "centered": _centered,
    "none": _whole,
    "layer": _layer,
}


def measure(design: CollapseDesign, seed: int) -> list[Row]:
    """Nets with batch norm and without, of the same weights; without skips also with the centered one."""
    nets = ("batch", "none")
    rows = [row for width in design.widths for row in _depth_rows(design, seed, width, nets)]
    return rows + _plain_rows(design, seed) + [_exponent_row(rows)]


def control(design: CollapseDesign, seed: int) -> list[Row]:
    """Nets with layer norm."""
    return [row for width in design.widths for row in _depth_rows(design, seed, width, ("layer",))]


def representations(
    width: int, layers: int, nets: Sequence[str], draws: torch.Generator, *, gamma: float | None, every: int
) -> list[tuple[int, Tensor]]:
    """Layer and H of each net (nets, d, N) on the way; all nets have the same weights and inputs.

    Args:
        width: d = N.
        layers: How many.
        nets: Of `NORMS`.
        draws: Of inputs, then of the weights.
        gamma: Of H + γWH; None: WH.
        every: After how many layers H is kept; that of the last one is too.
    """
    start = torch.randn(width, width, generator=draws)
    hidden, found = torch.stack([start] * len(nets)), list[tuple[int, Tensor]]()
    strength = (1.0 if gamma is None else gamma) / math.sqrt(width)
    for layer in range(1, layers + 1):
        weight = torch.randn(width, width, generator=draws)
        moved = torch.matmul(weight, hidden).mul_(strength)
        hidden = moved if gamma is None else moved.add_(hidden)
        for place, net in enumerate(nets):
            hidden[place] = NORMS[net](hidden[place])
        if layer % every == 0 or layer == layers:
            found.append((layer, hidden.clone()))
    return found


def _depth_rows(design: CollapseDesign, seed: int, width: int, nets: Sequence[str]) -> list[Row]:
    layers = design.layers_a_unit * width
    draws = generator(seed, "rank-collapse", str(width))
    kept = representations(width, layers, nets, draws, gamma=design.gamma, every=max(1, layers // design.points))
    rows: list[Row] = []
    for place, net in enumerate(nets):
        figures = [(layer, _ranks(hidden[place], design)) for layer, hidden in kept]
        late = [found for layer, found in figures if layer > 0.75 * layers]
        early = [found for layer, found in figures if 0.25 * layers < layer <= 0.5 * layers]
        means = {name: _mean([found[name] for found in late]) for name in RANKS}
        change = math.log(means["trace_rank"] / _mean([found["trace_rank"] for found in early]))
        named: Row = {"net": net, "width": width}
        rows += [{"kind": "depth", **named, "layer": layer, "trace_rank": f["trace_rank"]} for layer, f in figures]
        over = means["trace_rank"] / math.sqrt(width)
        rows.append({"kind": "late", **named, **means, "change": change, "over_root": over})
        rows.append({"kind": "end", **named, **figures[-1][1]})
    return rows


def _plain_rows(design: CollapseDesign, seed: int) -> list[Row]:
    nets, layers = ("batch", "centered", "none"), design.plain_layers
    draws = generator(seed, "rank-collapse", "plain")
    kept = representations(design.plain_width, layers, nets, draws, gamma=None, every=max(1, layers // 20))
    late = [hidden for layer, hidden in kept if layer > 0.75 * layers]
    found = {net: [_ranks(hidden[place], design) for hidden in late] for place, net in enumerate(nets)}
    return [
        {"kind": "plain", "net": net, **{name: _mean([one[name] for one in all_of]) for name in RANKS}}
        for net, all_of in found.items()
    ]


def _exponent_row(rows: Sequence[Row]) -> Row:
    """Least-squares slopes of ln(r - 1) and of ln r over ln d, with batch norm."""
    late = [row for row in rows if row["kind"] == "late" and row["net"] == "batch"]
    x = [math.log(number(row["width"])) for row in late]
    found = [number(row["trace_rank"]) for row in late]
    beyond = _slope(x, [math.log(rank - 1) for rank in found]) if min(found) > 1 else None
    return {
        "kind": "exponent", "net": "batch", "exponent": beyond,
        "rank_exponent": _slope(x, [math.log(rank) for rank in found]),
    }  # fmt: skip


def _slope(x: Sequence[float], y: Sequence[float]) -> float:
    middle = sum(x) / len(x)
    return sum((a - middle) * b for a, b in zip(x, y, strict=True)) / sum((a - middle) ** 2 for a in x)


def _ranks(hidden: Tensor, design: CollapseDesign) -> dict[str, float]:
    """Of one row a sample."""
    return {name: float(value) for name, value in asdict(ranks(hidden.T, tau=design.tau)).items()}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
