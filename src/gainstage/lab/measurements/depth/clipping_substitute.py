"""Trainings over learning rates: plain, with clipped gradients, with batch norm, from weights of several scales."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gainstage.lab.apparatus.rates import best_run, flat, grid, largest_usable, rate_runs
from gainstage.lab.catalogue.depth.clipping_substitute import ClippingDesign
from gainstage.lab.judge import Row, number
from gainstage.sweep import Row as Run


def measure(design: ClippingDesign, seed: int) -> list[Row]:
    """Each training, and what each variant comes to at each scale of the initial weights."""
    large = _rows(design, seed, ("none", "clip", "batch"), (design.large,))
    return large + _rows(design, seed, ("clip", "batch"), (design.small,))


def control(design: ClippingDesign, seed: int) -> list[Row]:
    """Plain and clipped trainings from He's own weights."""
    return _rows(design, seed, ("none", "clip"), (1.0,))


def _rows(design: ClippingDesign, seed: int, variants: Sequence[str], scales: Sequence[float]) -> list[Row]:
    settings = {
        "none": [{"norm": "none", "clip": math.inf}],
        "clip": [{"norm": "none", "clip": clip} for clip in design.clips],
        "batch": [{"norm": "batch", "clip": math.inf}],
    }
    points = [{**one, "scale": scale} for variant in variants for one in settings[variant] for scale in scales]
    rows = [_row(run) for run in rate_runs(design, grid(seed, points, design.lrs))]
    return [*rows, *(_summary(rows, variant, scale) for variant in variants for scale in scales)]


def _row(run: Run) -> Row:
    clip = float(run.values["clip"])
    named = {"none": ("none", "neither"), "batch": ("batch", "batch norm")}
    variant, what = ("clip", f"clipped at {clip:g}") if clip < math.inf else named[str(run.values["norm"])]
    return {**flat(run, ("scale", "lr")), "variant": variant, "what": what}


def _summary(rows: Sequence[Row], variant: str, scale: float) -> Row:
    mine = [row for row in rows if row["variant"] == variant and row["scale"] == scale]
    best, largest = best_run(mine), largest_usable(mine)
    return {
        "kind": "summary", "variant": variant, "scale": scale, "best_what": best["what"], "best_lr": best["lr"],
        "best_accuracy": best["test_accuracy"],
        "log_largest_lr": None if largest is None else math.log10(number(largest)),
    }  # fmt: skip
