"""A nuisance's share of the variance before and behind torch's batch norm, over its intensity."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gainstage.lab.catalogue.normalization.bn_cuts_low_intensity import MIXED, OWN, RECTIFIED, CutDesign
from gainstage.lab.judge import Row
from gainstage.seeding import generator


def measure(design: CutDesign, seed: int) -> list[Row]:
    """All intensities, with a unit for each feature (and ReLU behind it) and with features mixed into all units."""
    return [row for a in (*design.low, *design.high) for row in _rows(design, seed, a)]


def control(design: CutDesign, seed: int) -> list[Row]:
    """The intensity of the signals."""
    return _rows(design, seed, 1.0)


def share(parts: Tensor) -> float:
    """The last feature's share of the summed variance, of shape (batch, features)."""
    variances = parts.var(0, correction=0)
    return float(variances[-1] / variances.sum())


def mixed_shares(inputs: Tensor, weight: Tensor, eps: float) -> tuple[float, float]:
    """The last feature's share of Σ_units Var(z), z = Wx, before and behind BN.

    BN is affine in z with the statistics of the batch, so what the feature adds to a unit is divided by the same
    standard deviation as the unit.
    """
    z, own = inputs @ weight.T, inputs[:, -1:] @ weight[:, -1:].T
    variance = z.var(0, correction=0)
    part = own.var(0, correction=0)
    before = float(part.sum() / variance.sum())
    behind = nn.functional.batch_norm(z, None, None, training=True, eps=eps).var(0, correction=0)
    return before, float((part / (variance + eps)).sum() / behind.sum())


def _rows(design: CutDesign, seed: int, intensity: float) -> list[Row]:
    draws = generator(seed, "bn-cuts-low-intensity")
    inputs = torch.randn(design.batch, design.features, generator=draws, dtype=torch.float64)
    weight = torch.randn(design.features, design.features, generator=draws, dtype=torch.float64)
    inputs[:, -1] *= intensity
    norm = nn.BatchNorm1d(design.features, eps=design.eps, dtype=torch.float64)
    with torch.no_grad():
        outputs = norm(inputs)
    found = {
        OWN: (share(inputs), share(outputs)),
        RECTIFIED: (share(inputs.relu()), share(outputs.relu())),
        MIXED: mixed_shares(inputs, weight / design.features**0.5, design.eps),
    }
    return [
        {
            "place": place, "intensity": intensity, "low": intensity in design.low,
            "before": before, "after": after, "change": math.log10(after / before),
        }
        for place, (before, after) in found.items()
    ]  # fmt: skip
