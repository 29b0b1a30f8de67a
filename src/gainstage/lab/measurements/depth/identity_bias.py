"""The share of a residual branch in the variance behind its block, at initialization."""

from __future__ import annotations

import math

import torch
from torch import nn

from gainstage.lab.apparatus.networks import ResidualBlock, residual_mlp
from gainstage.lab.catalogue.depth.identity_bias import IdentityDesign
from gainstage.lab.judge import Row
from gainstage.landscape import BlockBalance, residual_balance
from gainstage.seeding import generator, preserved_rng


def measure(design: IdentityDesign, seed: int) -> list[Row]:
    """Nets with batch norm in each branch, and without any norm."""
    return [row for net in ("branch", "none") for row in net_rows(design, seed, net)]


def control(design: IdentityDesign, seed: int) -> list[Row]:
    """Nets with a batch norm behind each sum."""
    return net_rows(design, seed, "stream")


def net_rows(design: IdentityDesign, seed: int, net: str) -> list[Row]:
    """The figures of one net, and a row for each block."""
    inputs = torch.randn(design.batch, design.width, generator=generator(seed, "inputs"), dtype=torch.float64)
    # Without a norm the variance doubles at each block, which is soon beyond float32.
    with preserved_rng():
        model = initialized_(_built(design, net).double(), seed)
    with torch.no_grad():
        blocks = residual_balance(model.train(), inputs).blocks
    rows: list[Row] = [
        {"kind": "block", "net": net, "block": found.block, "share": found.share, "out_var": found.out_var}
        for found in blocks
    ]
    return [{"kind": "net", "net": net, **_figures(blocks)}, *rows]


def initialized_(model: nn.Module, seed: int) -> nn.Module:
    """Sets He's normal weights, and in the first layer, whose inputs are not rectified, Var W = 1/n; biases 0."""
    gain = 1.0
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear):
            draws = torch.randn(layer.weight.shape, generator=generator(seed, "weights", name), dtype=torch.float64)
            with torch.no_grad():
                layer.weight.copy_(draws * math.sqrt(gain / layer.in_features))
                layer.bias.zero_()
            gain = 2.0
    return model


def slope(x: list[float], y: list[float]) -> float:
    """Least-squares slope of y over x."""
    middle = sum(x) / len(x)
    return sum((a - middle) * b for a, b in zip(x, y, strict=True)) / sum((a - middle) ** 2 for a in x)


def _built(design: IdentityDesign, net: str) -> nn.Module:
    width = design.width
    if net == "stream":
        pairs = [
            (ResidualBlock(width, "relu", "none", 1.0, design.maps), nn.BatchNorm1d(width))
            for _ in range(design.blocks)
        ]
        return nn.Sequential(nn.Linear(width, width), *(part for pair in pairs for part in pair))
    norm = "batch" if net == "branch" else "none"
    return residual_mlp(design.blocks, width, norm=norm, maps=design.maps, inputs=width)


def _figures(blocks: tuple[BlockBalance, ...]) -> Row:
    """None where a share could not be had, as behind an overflow."""
    shares = [found.share for found in blocks if found.share]
    if len(shares) < len(blocks):
        return {"level": None, "slope": None, "mean_share": None, "doublings": None}
    places = [math.log(found.block + 1) for found in blocks]
    growth = math.log2(blocks[-1].out_var / blocks[0].stream_var)
    return {
        "level": sum((found.block + 1) * share for found, share in zip(blocks, shares, strict=True)) / len(shares),
        "slope": slope(places, [math.log(share) for share in shares]),
        "mean_share": sum(shares) / len(shares),
        "doublings": growth / len(blocks),
    }
