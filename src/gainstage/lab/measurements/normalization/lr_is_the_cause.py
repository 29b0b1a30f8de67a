"""Trainings over learning rates with and without batch norm, from good initial weights and from bad ones."""

from __future__ import annotations

from collections.abc import Sequence

from gainstage.lab.apparatus.rates import best_run, copy_of, flat, grid, rate_runs
from gainstage.lab.catalogue.normalization.lr_is_the_cause import CauseDesign
from gainstage.lab.figures import chosen
from gainstage.lab.judge import Row, Value

NORMS: tuple[dict[str, Value], ...] = ({"norm": "none"}, {"norm": "batch"})


def measure(design: CauseDesign, seed: int) -> list[Row]:
    """Each training, and for each norm what it reaches at the rate that fits the training set best."""
    others = tuple(lr for lr in design.lrs if lr != design.low)
    rows = _rows(design, seed, [*grid(seed, NORMS, (design.low,), copies=design.copies), *grid(seed, NORMS, others)])
    # One training for each rate, at the low one as at the others.
    return [*rows, *(_summary(chosen(rows, copy=0, **norm)) for norm in NORMS)]


def control(design: CauseDesign, seed: int) -> list[Row]:
    """The low rate, from weights that are too small."""
    return _rows(design, seed, grid(seed, NORMS, (design.low,)), design.control_scale)


def _rows(design: CauseDesign, seed: int, points: Sequence[dict[str, Value]], scale: float = 1.0) -> list[Row]:
    runs = rate_runs(design, points, momentum=design.momentum, scale=scale)
    return [{**flat(run, ("norm", "lr")), "copy": copy_of(run, seed)} for run in runs]


def _summary(rows: Sequence[Row]) -> Row:
    best = best_run(rows)
    return {"kind": "summary", "norm": best["norm"], "best_lr": best["lr"], "best_accuracy": best["test_accuracy"]}
