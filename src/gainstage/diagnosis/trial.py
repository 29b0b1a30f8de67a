"""A few optimizer steps on a copy, for the rules that need time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from gainstage.landscape.training import BATCHES, gradients_kept, trained
from gainstage.trace.call import tensors_of
from gainstage.trace.copies import copied
from gainstage.trace.records import TrialRecord
from gainstage.trace.subject import Subject


def short_trial(subject: Subject, steps: int, seed: int = 0) -> TrialRecord:
    """Losses of ``steps`` steps on a copy of the model with a copy of its optimizer.

    Every batch of the series is used once before one is used again. It ends at the first loss that is not finite.

    Raises:
        SubjectError: if the model cannot be copied or trained.
    """
    with gradients_kept(subject):
        batches = subject.batches.take(BATCHES)
        losses = trained(copied(subject.replace(batches=batches)), steps, seed, lambda _: None)
        return trial_of(steps, losses, batches)


def trial_of(steps: int, losses: Sequence[float], batches: Sequence[Any]) -> TrialRecord:
    """The record of a trial on these batches."""
    broken = bool(losses) and not math.isfinite(losses[-1])
    return TrialRecord(steps, tuple(losses), _spoilt(batches) if broken else "")


def _spoilt(batches: Sequence[Any]) -> str:
    """The first NaN, unless the first batch has some too, which trained: the loss leaves them out then."""
    for number, batch in enumerate(batches):
        for place, tensor in tensors_of(batch):
            if tensor.layout is torch.strided and bool(torch.isnan(tensor).any()):
                return f"batch {number}, at {place or 'its tensor'}" if number else ""
    return ""
