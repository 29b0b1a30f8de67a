"""Trainings over learning rates with batch norm, without it, and with its affine part alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gainstage.lab.apparatus.rates import flat, grid, largest_usable, rate_runs, steps_to
from gainstage.lab.catalogue.normalization.bn_higher_lr import HigherDesign
from gainstage.lab.judge import Row, number


def measure(design: HigherDesign, seed: int) -> list[Row]:
    """Each training, and what they come to for each norm."""
    return _rows(design, seed, ("none", "batch"), design.lrs)


def control(design: HigherDesign, seed: int) -> list[Row]:
    """The same at the upper rates, without norm and with the affine part alone."""
    return _rows(design, seed, ("none", "affine"), design.control_lrs)


def _rows(design: HigherDesign, seed: int, norms: Sequence[str], lrs: Sequence[float]) -> list[Row]:
    points = grid(seed, [{"norm": norm} for norm in norms], lrs)
    runs = rate_runs(design, points, every=design.every, metrics=("test_accuracy",))
    rows: list[Row] = [{**flat(run, ("norm", "lr")), "reached": steps_to(run, design.target)} for run in runs]
    return [*rows, *(_summary(design, [row for row in rows if row["norm"] == norm], norm) for norm in norms)]


def _summary(design: HigherDesign, rows: Sequence[Row], norm: str) -> Row:
    largest = largest_usable(rows)
    # A target that no rate reaches counts as reached one measurement after the end.
    never = design.steps + design.every
    fewest = min(never if row["reached"] is None else number(row["reached"]) for row in rows)
    return {
        "kind": "summary", "norm": norm,
        "log_largest_lr": None if largest is None else math.log10(number(largest)),
        # Before the first step counts as after it, for a logarithm.
        "log_fewest_steps": math.log10(max(fewest, 1)),
        "at_top": float(largest == max(number(row["lr"]) for row in rows)),
    }  # fmt: skip
