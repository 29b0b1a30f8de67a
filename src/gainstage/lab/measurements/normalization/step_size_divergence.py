"""The loss along the gradient at initialization, by `gainstage.landscape.step_profile`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gainstage.lab.apparatus.at_start import at_start, batches, placed
from gainstage.lab.catalogue.designs import Net
from gainstage.lab.catalogue.normalization.step_size_divergence import CONTROL_INIT, CRITICAL, StepDesign
from gainstage.lab.judge import Row
from gainstage.landscape import step_profile
from gainstage.sweep import Data

# What float32 can hold; stands for losses that are not finite.
LARGEST = 38.0


def measure(design: StepDesign, seed: int) -> list[Row]:
    """Profiles of all networks, with and without batch norm, all on the same batches."""
    data = placed(design.data, design.device)
    cases = [(net, init, norm) for net, init in design.cases for norm in ("none", "batch")]
    return [row for net, init, norm in cases for row in _rows(design, data, seed, net, init, norm)]


def control(design: StepDesign, seed: int) -> list[Row]:
    """The judged network without a norm and with branches that start at zero."""
    data = placed(design.data, design.device)
    return _rows(design, data, seed, design.nets[0], CONTROL_INIT, "none")


def _rows(design: StepDesign, data: Data, seed: int, net: Net, init: str, norm: str) -> list[Row]:
    model = at_start(net, norm, init, seed, data=data)
    series = batches(data, design.batches, design.batch, seed)
    profile = step_profile(model, series, steps=design.steps, count=design.batches, norms="train")
    what: Row = {"net": net.label, "init": init, "norm": norm}
    logs = [log_mean(column) for column in zip(*profile.relative, strict=True)]
    rows: list[Row] = [
        {"kind": "step", **what, "step": step, "log_relative": log}
        for step, log in zip(profile.steps, logs, strict=True)
    ]
    judged = [log for step, log in zip(profile.steps, logs, strict=True) if step > CRITICAL]
    found: Row = {"first": logs[0], "least": min(judged), "most": max(judged), "loss": _mean(profile.losses)}
    return [*rows, {"kind": "net", **what, **found}]


def log_mean(relative: Sequence[float]) -> float:
    """log10 of the geometric mean, each value within what float32 can hold; NaN is a loss that exploded."""
    return sum(map(_log, relative)) / len(relative)


def _log(value: float) -> float:
    if math.isnan(value) or value == math.inf:
        return LARGEST
    return max(-LARGEST, min(LARGEST, math.log10(value))) if value > 0 else -LARGEST


def _mean(losses: Sequence[float]) -> float | None:
    mean = sum(losses) / len(losses)
    return mean if math.isfinite(mean) else None
