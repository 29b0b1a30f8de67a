"""From sums on the device to plain numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from gainstage.trace.sums import Array, Magnitudes, Part, Sums


@dataclass(frozen=True)
class Figures:
    """Numbers from the sums of `reductions.moments`; None where there are no finite values."""

    mean: float | None = None
    std: float | None = None
    rms: float | None = None
    max_abs: float | None = None
    zero_fraction: float | None = None
    dead_fraction: float | None = None
    unit_mean_rms: float | None = None
    unit_std: float | None = None
    non_finite: int = 0
    units: int = 0


def short(value: float | None) -> float | None:
    """The number to nine significant digits: a float32's own, and half as long in JSON as a float64's."""
    return None if value is None else float(f"{value:.9g}")


def figures(sums: Sums | None) -> Figures:
    """The numbers in ``sums``."""
    if sums is None:
        return Figures()
    if len(sums.first) == 1 and isinstance(sums.count, float):
        return _single(sums, sums.count)
    unit_mean, unit_std = unit_figures(sums)
    unit_var, units = unit_std * unit_std, len(unit_mean)
    counts = np.full(units, sums.count) if isinstance(sums.count, float) else _array(sums.count)
    total, non_finite = float(counts.sum()), int(sums.non_finite)
    if total == 0:
        return Figures(non_finite=non_finite, units=units)
    mean = float(unit_mean @ counts) / total
    # Within units and between them: no difference of large squares, so a mean far from zero costs no digits.
    spread = unit_mean - mean
    var = float((unit_var + spread * spread) @ counts) / total
    dead = (unit_mean == 0) & (unit_std == 0) & (counts > 0)
    return Figures(
        mean=mean, std=math.sqrt(var), rms=math.sqrt(var + mean * mean), max_abs=float(sums.max_abs),
        zero_fraction=1 - float(sums.nonzero) / total, dead_fraction=int(np.count_nonzero(dead)) / units,
        unit_mean_rms=math.sqrt(float(unit_mean @ unit_mean) / units),
        unit_std=math.sqrt(float(unit_var.sum()) / units), non_finite=non_finite, units=units,
    )  # fmt: skip


def _single(sums: Sums, count: float) -> Figures:
    """`figures` of one unit without non-finite values, in plain Python: arrays of one number are slow."""
    if count == 0:
        return Figures(units=1)
    offset = float(sums.first[0]) / count
    mean = float(sums.shift[0]) + offset
    var = max(float(sums.second[0]) / count - offset * offset, 0.0)
    return Figures(
        mean=mean, std=math.sqrt(var), rms=math.sqrt(var + mean * mean), max_abs=float(sums.max_abs),
        zero_fraction=1 - float(sums.nonzero) / count, dead_fraction=float(mean == 0 and var == 0),
        unit_mean_rms=abs(mean), unit_std=math.sqrt(var), units=1,
    )  # fmt: skip


def unit_figures(sums: Sums) -> tuple[Array, Array]:
    """Mean and population std of each unit."""
    counts = max(sums.count, 1.0) if isinstance(sums.count, float) else np.maximum(_array(sums.count), 1)
    offset = _array(sums.first) / counts
    return _array(sums.shift) + offset, np.sqrt(np.maximum(_array(sums.second) / counts - offset * offset, 0.0))


def magnitude_figures(magnitudes: Magnitudes | None) -> Figures:
    """The numbers in ``magnitudes``; the others are None."""
    count = 0.0 if magnitudes is None else float(magnitudes.count)
    if magnitudes is None or count == 0:
        return Figures(
            non_finite=0 if magnitudes is None else int(magnitudes.non_finite),
            units=0 if magnitudes is None else magnitudes.units,
        )
    return Figures(
        rms=math.sqrt(float(magnitudes.squares) / count), max_abs=float(magnitudes.max_abs),
        dead_fraction=float(magnitudes.dead) / magnitudes.units, non_finite=int(magnitudes.non_finite),
        units=magnitudes.units,
    )  # fmt: skip


def _array(part: Part | int) -> Array:
    return part.detach().cpu().double().numpy() if isinstance(part, torch.Tensor) else np.asarray(part, np.float64)
