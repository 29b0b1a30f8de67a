"""A few optimizer steps on a copy, for the rules that need time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

import torch

from gainstage.errors import SubjectError
from gainstage.landscape.training import BATCHES, gradients_kept, trained
from gainstage.trace.call import tensors_of
from gainstage.trace.copies import copied
from gainstage.trace.records import RateTrial, TrialRecord
from gainstage.trace.subject import Subject

# A run of so many steps or more that ends above so much of its first losses is tried at other learning rates.
TELLING_STEPS, HARDLY = 100, 0.5
LOWER, HIGHER = (0.1, 0.01), (10.0, 100.0)


def short_trial(subject: Subject, steps: int, seed: int = 0) -> TrialRecord:
    """Losses of ``steps`` steps on a copy of the model with a copy of its optimizer.

    Every batch of the series is used once before one is used again. It ends at the first loss that is not finite.
    Where it hardly lowers the loss, the same run is made at a tenth, a hundredth, 10 and 100 times the learning rate.

    Raises:
        SubjectError: if the model cannot be copied or trained.
    """
    with gradients_kept(subject):
        batches = subject.batches.take(BATCHES)
        series = subject.replace(batches=batches)
        losses = trained(copied(series), steps, seed, lambda _: None)
        return trial_of(steps, losses, batches, tuple(_elsewhere(series, losses, steps, seed)))


def trial_of(
    steps: int, losses: Sequence[float], batches: Sequence[Any], elsewhere: tuple[RateTrial, ...] = ()
) -> TrialRecord:
    """The record of a trial on these batches."""
    broken = bool(losses) and not math.isfinite(losses[-1])
    return TrialRecord(steps, tuple(losses), _spoilt(batches) if broken else "", elsewhere=elsewhere)


def _elsewhere(series: Subject, losses: Sequence[float], steps: int, seed: int) -> Iterator[RateTrial]:
    groups = series.optimizer.param_groups if series.optimizer is not None else ()
    own = max((float(group["lr"]) for group in groups), default=0.0)
    # A schedule has the last word on the rate, and its first one may be a warm-up's.
    if steps < TELLING_STEPS or not own or any("initial_lr" in group for group in groups):
        return
    # The very first, too: at a rate that is too high the next ones stand far above it.
    first, end = min(losses[0], median(losses[:FIRST])), end_of(losses)
    if not math.isfinite(losses[0]) or end < HARDLY * first:
        return
    for factor in LOWER if not math.isfinite(end) else (*LOWER, *HIGHER):
        rate = own * factor
        try:
            there = trained(copied(series), steps, seed, lambda _: None, rate=lambda _, rate=rate: rate)
        except SubjectError:  # where it does not run at all it does not run better
            there = (math.inf,)
        yield RateTrial(rate, factor, end_of(there))


# How many losses stand for the first ones.
FIRST = 5


def end_of(losses: Sequence[float]) -> float:
    """The median loss of a run's last fifth; infinite if it left the finite numbers."""
    return median(losses[-max(1, len(losses) // 5) :]) if losses and math.isfinite(losses[-1]) else math.inf


def _spoilt(batches: Sequence[Any]) -> str:
    """The first NaN, unless the first batch has some too, which trained: the loss leaves them out then."""
    for number, batch in enumerate(batches):
        for place, tensor in tensors_of(batch):
            if tensor.layout is torch.strided and bool(torch.isnan(tensor).any()):
                return f"batch {number}, at {place or 'its tensor'}" if number else ""
    return ""
