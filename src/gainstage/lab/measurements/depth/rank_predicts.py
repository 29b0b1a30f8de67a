"""The rank of a batch's representation at initialization, and what the same networks learn."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gainstage.lab.apparatus.devices import device_of
from gainstage.lab.apparatus.rates import best_run
from gainstage.lab.apparatus.training import final_rows
from gainstage.lab.catalogue.depth.rank_predicts import PredictsDesign, spearman
from gainstage.lab.judge import Row, number
from gainstage.landscape import ranks
from gainstage.sweep import Spec
from gainstage.sweep.data import loaded
from gainstage.sweep.engine.initial import built

# torch's layers draw U(±1/√n), whose variance 1/(3n) this makes He's 2/n; a scheme would trace each net anew.
_HE = math.sqrt(6)


def measure(design: PredictsDesign, seed: int) -> list[Row]:
    """Nets of each depth without a norm; at some depths also from other scales, and with batch norm."""
    spec = specification(design, seed)
    trained = final_rows(spec, keep=("norm", "scale", "depth", "lr"))
    rows: list[Row] = []
    for net, factor, depth in _cases(design):
        at = (net, _HE * factor, depth)
        best = best_run([row for row in trained if (row["norm"], row["scale"], row["depth"]) == at])
        rank = _rank(_initial(spec, net, depth, factor), loaded(spec).train_inputs[: design.samples])
        named: Row = {"kind": "net", "net": net, "scale": factor, "depth": depth}
        rows.append({**named, "rank": rank, "accuracy": best["test_accuracy"], "best_lr": best["lr"]})
    plain = [row for row in rows if row["net"] == "none" and row["scale"] == 1.0]
    return [*rows, _correlation_row(plain, "none"), _within_row(rows, design)]


def control(design: PredictsDesign, seed: int) -> list[Row]:
    """Nets without a norm that were not trained, many of each depth."""
    rows: list[Row] = []
    for draw in range(design.untrained):
        spec = specification(design, seed * design.untrained + draw)
        data, found = loaded(spec), list[Row]()
        for depth in design.depths:
            model = _initial(spec, "none", depth)
            with torch.no_grad():
                guesses = model(data.test_inputs.to(device_of(design.device))).argmax(1).cpu()
            accuracy = float((guesses == data.test_targets.cpu()).float().mean())
            rank = _rank(model, data.train_inputs[: design.samples])
            found.append({"kind": "net", "net": "none", "depth": depth, "rank": rank, "accuracy": accuracy})
        rows.append({**_correlation_row(found, "none"), "draw": draw})
    return rows


def specification(design: PredictsDesign, seed: int) -> Spec:
    """All trainings of a seed."""
    return Spec(
        name="rank-predicts", model="gainstage.lab.apparatus.networks:mlp", data=design.data,
        points=[{"norm": net, "scale": _HE * factor, "depth": depth} for net, factor, depth in _cases(design)],
        axes={"lr": design.lrs}, fixed={"width": design.width, "seed": seed, "batch_size": design.batch},
        steps=design.steps, measure=(design.steps,), metrics=("train_loss", "test_accuracy"),
        device=device_of(design.device),
    )  # fmt: skip


def _cases(design: PredictsDesign) -> list[tuple[str, float, int]]:
    """Norm, factor of He's weights, depth; behind batch norm the factor would change nothing."""
    plain = [("none", 1.0, depth) for depth in design.depths]
    others = [("none", factor) for factor in design.scales if factor != 1.0]
    return plain + [(*net, depth) for net in [*others, ("batch", 1.0)] for depth in design.within]


def _initial(spec: Spec, net: str, depth: int, factor: float = 1.0) -> nn.Module:
    """The network before its first update: the same at every rate."""
    wanted = (net, _HE * factor, depth)
    cell = next(c for c in spec.cells() if (c.values["norm"], c.values["scale"], c.values["depth"]) == wanted)
    return built(spec, cell, loaded(spec))


def _rank(model: nn.Module, inputs: Tensor) -> float:
    """r of the last hidden layer: all but the read-out, in training mode."""
    device = next(model.parameters()).device
    with torch.no_grad():
        hidden = nn.Sequential(*list(model.children())[:-1])(inputs.to(device))
    return ranks(hidden).trace_rank


def _correlation_row(rows: Sequence[Row], net: str) -> Row:
    return {"kind": "seed", "net": net, "correlation": _correlation([row for row in rows if row["net"] == net])}


def _within_row(rows: Sequence[Row], design: PredictsDesign) -> Row:
    """Among the nets of each depth, whatever norm and scale; the mean over depths."""
    found = [_correlation([row for row in rows if row["depth"] == depth]) for depth in design.within]
    return {"kind": "within", "within": sum(found) / len(found)}


def _correlation(rows: Sequence[Row]) -> float:
    """Spearman's; equal accuracies of all are no correlation."""
    columns = [[number(row[key]) for row in rows] for key in ("rank", "accuracy")]
    return spearman(*columns) or 0.0
