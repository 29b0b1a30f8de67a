"""Alignment of the output gradients in a batch, by `gainstage.landscape.output_alignment`."""

from __future__ import annotations

from gainstage.lab.apparatus.at_start import at_start, batches, placed
from gainstage.lab.catalogue.designs import AtStart, Net
from gainstage.lab.catalogue.normalization.gradient_alignment import CONTROL_INIT
from gainstage.lab.judge import Row
from gainstage.landscape import output_alignment
from gainstage.sweep import Data


def measure(design: AtStart, seed: int) -> list[Row]:
    """All networks, with and without batch norm, on the same batch."""
    data = placed(design.data, design.device)
    return [row for net, init in design.cases for row in _rows(design, data, seed, net, init)]


def control(design: AtStart, seed: int) -> list[Row]:
    """The judged network with branches that start at zero, with and without batch norm."""
    return _rows(design, placed(design.data, design.device), seed, design.nets[0], CONTROL_INIT)


def _rows(design: AtStart, data: Data, seed: int, net: Net, init: str) -> list[Row]:
    return [_row(design, data, seed, net, init, norm) for norm in ("none", "batch")]


def _row(design: AtStart, data: Data, seed: int, net: Net, init: str, norm: str) -> Row:
    model = at_start(net, norm, init, seed, data=data)
    (batch, *_) = batches(data, 1, design.batch, seed)
    found = output_alignment(model, batch, norms="train")
    return {
        "net": net.label, "init": init, "norm": norm, "sign_alignment": found.sign_alignment,
        "mean_cosine": found.mean_cosine, "top_class_share": found.top_class_share, "samples": found.samples,
    }  # fmt: skip
