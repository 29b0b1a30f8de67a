"""The rank of a batch's representation at initialization, and what the same networks learn."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gainstage.lab.apparatus.training import final_rows
from gainstage.lab.catalogue.depth.rank_predicts import PredictsDesign, spearman
from gainstage.lab.judge import Row
from gainstage.landscape import ranks
from gainstage.sweep import Spec
from gainstage.sweep.data import loaded
from gainstage.sweep.engine.initial import built

_NETS = ("none", "batch")
# torch's layers draw U(±1/√n), whose variance 1/(3n) this makes He's 2/n; a scheme would trace each net anew.
_HE = math.sqrt(6)


def measure(design: PredictsDesign, seed: int) -> list[Row]:
    """Nets without a norm and with batch norm, at each depth."""
    spec = specification(design, seed)
    trained = final_rows(spec, keep=("norm", "depth", "lr"))
    rows: list[Row] = []
    for net, depth in itertools.product(_NETS, design.depths):
        accuracies = [float(str(r["test_accuracy"])) for r in trained if (r["norm"], r["depth"]) == (net, depth)]
        rank = _rank(_initial(spec, net, depth), loaded(spec).train_inputs[: design.samples])
        rows.append({"kind": "net", "net": net, "depth": depth, "rank": rank, "accuracy": max(accuracies)})
    return rows + [_correlation_row(rows, net) for net in _NETS]


def control(design: PredictsDesign, seed: int) -> list[Row]:
    """Nets without a norm that were not trained, many of each depth."""
    rows: list[Row] = []
    for draw in range(design.untrained):
        spec = specification(design, seed * design.untrained + draw)
        data, found = loaded(spec), list[Row]()
        for depth in design.depths:
            model = _initial(spec, "none", depth)
            with torch.no_grad():
                guesses = model(data.test_inputs.to(_device(design))).argmax(1).cpu()
            accuracy = float((guesses == data.test_targets.cpu()).float().mean())
            rank = _rank(model, data.train_inputs[: design.samples])
            found.append({"kind": "net", "net": "none", "depth": depth, "rank": rank, "accuracy": accuracy})
        rows.append({**_correlation_row(found, "none"), "draw": draw})
    return rows


def specification(design: PredictsDesign, seed: int) -> Spec:
    """All trainings of a seed."""
    return Spec(
        name="rank-predicts", model="gainstage.lab.apparatus.networks:mlp", data=design.data,
        axes={"norm": _NETS, "depth": design.depths, "lr": design.lrs},
        fixed={"width": design.width, "scale": _HE, "seed": seed, "batch_size": design.batch},
        steps=design.steps, measure=(design.steps,), metrics=("test_accuracy",), device=_device(design),
    )  # fmt: skip


def _initial(spec: Spec, net: str, depth: int) -> nn.Module:
    """The network before its first update: the same at every rate."""
    cell = next(cell for cell in spec.cells() if (cell.values["norm"], cell.values["depth"]) == (net, depth))
    return built(spec, cell, loaded(spec))


def _rank(model: nn.Module, inputs: Tensor) -> float:
    """r of the last hidden layer: all but the read-out, in training mode."""
    device = next(model.parameters()).device
    with torch.no_grad():
        hidden = nn.Sequential(*list(model.children())[:-1])(inputs.to(device))
    return ranks(hidden).trace_rank


def _correlation_row(rows: Sequence[Row], net: str) -> Row:
    found = [row for row in rows if row["net"] == net]
    columns = [[float(str(row[key])) for row in found] for key in ("rank", "accuracy")]
    # Equal accuracies at all depths are no correlation.
    return {"kind": "seed", "net": net, "correlation": spearman(*columns) or 0.0}


def _device(design: PredictsDesign) -> str:
    return ("cuda" if torch.cuda.is_available() else "cpu") if design.device == "auto" else design.device
