"""Trainings over learning rates with and without batch norm, from good initial weights and from bad ones."""

from __future__ import annotations

from gainstage.lab.apparatus.rates import at_best, copy_of, flat, rate_runs
from gainstage.lab.catalogue.normalization.lr_is_the_cause import CauseDesign
from gainstage.lab.judge import Row

NORMS = ("none", "batch")


def measure(design: CauseDesign, seed: int) -> list[Row]:
    """Each training, and for each norm what it reaches at the rate that fits the training set best."""
    others = tuple(lr for lr in design.lrs if lr != design.low)
    low, rest = _rows(design, seed, (design.low,), 1.0, design.copies), _rows(design, seed, others, 1.0)
    # One training for each rate, at the low one as at the others.
    single = [*(row for row in low if row["copy"] == 0), *rest]
    return [*low, *rest, *(_summary(single, norm) for norm in NORMS)]


def control(design: CauseDesign, seed: int) -> list[Row]:
    """The low rate, from weights that are too small."""
    return _rows(design, seed, (design.low,), design.control_scale)


def _rows(design: CauseDesign, seed: int, lrs: tuple[float, ...], scale: float, copies: int = 1) -> list[Row]:
    points = [{"norm": norm} for norm in NORMS]
    runs = rate_runs(design, seed, points, lrs=lrs, momentum=design.momentum, scale=scale, copies=copies)
    return [{**flat(run, ("norm", "lr")), "copy": copy_of(run, seed)} for run in runs]


def _summary(rows: list[Row], norm: str) -> Row:
    best = at_best([row for row in rows if row["norm"] == norm])
    return {"kind": "summary", "norm": norm, "best_lr": best["lr"], "best_accuracy": best["test_accuracy"]}
