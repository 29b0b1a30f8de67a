"""Internal covariate shift along training, with and without batch norm."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gainstage.lab.apparatus.walk import Halt, halts
from gainstage.lab.catalogue.how_it_helps.bn_ics import ShiftDesign
from gainstage.lab.judge import Row
from gainstage.lab.measurements.how_it_helps.smoothness import training
from gainstage.landscape import LayerShift, covariate_shift


def measure(design: ShiftDesign, seed: int) -> list[Row]:
    """One row for each network, learning rate, halt and layer."""
    return _rows(design, seed, ("none", "batch"))


def control(design: ShiftDesign, seed: int) -> list[Row]:
    """The same for no norm and an idle one."""
    return _rows(design, seed, ("none", "frozen"))


def _rows(design: ShiftDesign, seed: int, norms: Sequence[str]) -> list[Row]:
    return [
        {"norm": norm, "lr": lr, "step": halt.step, **figures}
        for norm in norms
        for lr in design.lrs
        for halt in halts(training(design, seed, norm, lr))
        for figures in _layers(design, halt, lr)
    ]


def _layers(design: ShiftDesign, halt: Halt, lr: float) -> list[Row]:
    if halt.diverged:
        return [
            {"layer": layer, "diverged": True, "shift": None, "relative": None, "cosine": 0.0}
            for layer in design.layers
        ]
    found = covariate_shift(halt.model, halt.batch, lr=lr, layers=design.layers)
    return [_figures(layer) for layer in found.layers]


def _figures(found: LayerShift) -> Row:
    finite = math.isfinite(found.shift)
    return {
        "layer": found.position,
        # A step that leads out of the finite numbers is as bad as a run that does; a cosine is then that of chance.
        "diverged": not finite,
        "shift": found.shift if finite else None,
        "relative": found.relative if finite else None,
        "cosine": found.cosine if finite else 0.0,
    }
