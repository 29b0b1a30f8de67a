"""Trainings with batch norm before and after each activation."""

from __future__ import annotations

import math

from gainstage.lab.apparatus.rates import best_run, copy_of, flat, grid, largest_usable, rate_runs
from gainstage.lab.catalogue.normalization.bn_placement import PlacementDesign
from gainstage.lab.figures import chosen
from gainstage.lab.judge import Row, number

PLACES = ("before", "after")


def measure(design: PlacementDesign, seed: int) -> list[Row]:
    """Each training, and what they come to for each place."""
    rows = _rows(design, seed, design.lrs, "relu", design.copies)
    pairs = [(place, copy) for place in PLACES for copy in range(design.copies)]
    return [*rows, *(_summary(chosen(rows, placement=place, copy=copy), place) for place, copy in pairs)]


def control(design: PlacementDesign, seed: int) -> list[Row]:
    """Trainings of networks without activations."""
    return _rows(design, seed, design.control_lrs, "linear")


def _rows(design: PlacementDesign, seed: int, lrs: tuple[float, ...], activation: str, copies: int = 1) -> list[Row]:
    points = grid(seed, [{"placement": place} for place in PLACES], lrs, copies=copies)
    runs = rate_runs(design, points, norm="batch", activation=activation)
    return [{**flat(run, ("placement", "lr")), "copy": copy_of(run, seed)} for run in runs]


def _summary(rows: list[Row], place: str) -> Row:
    best, largest = best_run(rows), largest_usable(rows)
    return {
        "kind": "summary", "placement": place, "best_lr": best["lr"], "best_accuracy": best["test_accuracy"],
        "log_largest_lr": None if largest is None else math.log10(number(largest)),
    }  # fmt: skip
