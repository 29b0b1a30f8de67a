"""Full-batch training with BN over groups of several sizes, and the test accuracy at one training loss."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import cast

import torch
from torch import nn

from gainstage.lab.apparatus.devices import device_of
from gainstage.lab.apparatus.fitting import Training, he_started, matched_row
from gainstage.lab.apparatus.label_noise import mislabeled, named
from gainstage.lab.apparatus.noise import grouped, settle
from gainstage.lab.catalogue.normalization.bn_regularizes import WHOLE, RegularizesDesign
from gainstage.lab.judge import Row


def measure(design: RegularizesDesign, seed: int) -> list[Row]:
    """Groups of each size, and the whole set."""
    return _rows(design, seed, (*design.groups, WHOLE))


def control(design: RegularizesDesign, seed: int) -> list[Row]:
    """Halves of the set, and the whole."""
    return _rows(design, seed, (design.samples // 2, WHOLE))


def _rows(design: RegularizesDesign, seed: int, sizes: Sequence[int]) -> list[Row]:
    return [{"group": size, **_found(design, seed, size)} for size in sizes]


# The whole set is in the claim and in its control.
@lru_cache(maxsize=8)
def _found(design: RegularizesDesign, seed: int, size: int) -> Row:
    """The same weights and the same order of samples for all sizes."""
    device = device_of(design.device)
    data = mislabeled(named(design.data), design.samples, design.wrong, seed).to(torch.float32, device)
    training = Training(design.lr, design.momentum, design.samples, design.steps)
    model = cast("nn.Sequential", he_started(design.network, dict(design.options), seed))
    model = grouped(model, size).to(device)
    return matched_row(model, data, training, seed, level=design.level, every=design.every, prepare=settle)
