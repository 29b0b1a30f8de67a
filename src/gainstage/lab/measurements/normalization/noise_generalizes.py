"""Training with noise behind each ReLU, and the test accuracy at one training loss."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from gainstage.lab.apparatus.devices import device_of
from gainstage.lab.apparatus.fitting import Training, he_started, matched_row
from gainstage.lab.apparatus.label_noise import mislabeled, named
from gainstage.lab.apparatus.noise import noisy
from gainstage.lab.catalogue.normalization.noise_generalizes import NoiseDesign
from gainstage.lab.judge import Row
from gainstage.seeding import generator


def measure(design: NoiseDesign, seed: int) -> list[Row]:
    """Noise that is new in each step, at each level."""
    return _rows(design, seed, frozen=False)


def control(design: NoiseDesign, seed: int) -> list[Row]:
    """Factors that never change, at each level."""
    return _rows(design, seed, frozen=True)


def _rows(design: NoiseDesign, seed: int, *, frozen: bool) -> list[Row]:
    device = device_of(design.device)
    data = mislabeled(named(design.data), design.samples, design.wrong, seed).to(torch.float32, device)
    training = Training(design.lr, design.momentum, design.batch_size, design.steps)
    rows = list[Row]()
    for noise in design.levels:
        # The same weights and the same order of samples at all levels; the same ε for all that never change.
        model = cast("nn.Sequential", he_started(design.network, dict(design.options), seed))
        model = noisy(model, noise, generator(seed, "noise-generalizes") if frozen else None).to(device)
        found = matched_row(model, data, training, seed, level=design.level, every=design.every)
        rows.append({"noise": noise, **found})
    return rows
