"""A few optimizer steps on a copy, for the rules that need time; and again with one thing changed, if they fail."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from gainstage.errors import SubjectError
from gainstage.landscape.training import BATCHES, gradients_kept, trained
from gainstage.trace.call import tensors_of
from gainstage.trace.copies import copied
from gainstage.trace.subject import Subject
from gainstage.trace.training_records import TrialRecord, VariantRecord, end_of

# A run of so many steps or more that ends above so much of where it began is made again.
TELLING_STEPS, HARDLY = 100, 0.5
# A run that ends below so much of the other's end has found what is wrong: nothing else is tried.
ENOUGH = 0.5
LOWER, HIGHER = (0.1, 0.01), (100.0,)


def short_trial(subject: Subject, steps: int, seed: int = 0) -> TrialRecord:
    """Losses of ``steps`` steps on a copy of the model with a copy of its optimizer.

    Every batch of the series is used once before one is used again. It ends at the first loss that is not finite.
    A run of 100 steps or more that hardly lowers the loss is made again with the same batches and random numbers: at
    a tenth and a hundredth of the learning rate, at a hundred times, without weight decay.

    Raises:
        SubjectError: if the model cannot be copied or trained.
    """
    with gradients_kept(subject):
        batches = subject.batches.take(BATCHES)
        series = subject.replace(batches=batches)
        losses = trained(copied(series), steps, seed, lambda _: None)
        return trial_of(steps, losses, batches, tuple(_variants(series, losses, steps, seed)))


def trial_of(
    steps: int, losses: Sequence[float], batches: Sequence[Any], variants: tuple[VariantRecord, ...] = ()
) -> TrialRecord:
    """The record of a trial on these batches."""
    broken = bool(losses) and not math.isfinite(losses[-1])
    return TrialRecord(steps, tuple(losses), _spoilt(batches) if broken else "", variants=variants)


def _variants(series: Subject, losses: Sequence[float], steps: int, seed: int) -> Iterator[VariantRecord]:
    groups = series.optimizer.param_groups if series.optimizer is not None else []
    own = max((float(group["lr"]) for group in groups), default=0.0)
    # A schedule has the last word on the rate, and its first one may be a warm-up's.
    if steps < TELLING_STEPS or not own or any("initial_lr" in group for group in groups):
        return
    end = end_of(losses)
    if not math.isfinite(losses[0]) or losses[0] <= 0 or end < HARDLY * losses[0]:
        return
    for factor in LOWER if not math.isfinite(end) else (*LOWER, *HIGHER):
        there = _run(series, steps, seed, rate=own * factor)
        yield VariantRecord("lr", factor, own * factor, there)
        if there < ENOUGH * end:
            return
    if any(group.get("weight_decay") for group in groups):
        yield VariantRecord("weight_decay", 0.0, own, _run(series, steps, seed, decay=0.0))


def _run(series: Subject, steps: int, seed: int, *, rate: float | None = None, decay: float = 1.0) -> float:
    """The end of the same run at another learning rate, or with another weight decay."""
    subject = copied(series)
    for group in subject.optimizer.param_groups if subject.optimizer is not None else []:
        if "weight_decay" in group:
            group["weight_decay"] *= decay
    try:
        return end_of(trained(subject, steps, seed, lambda _: None, rate=None if rate is None else lambda _: rate))
    except SubjectError:  # where it does not run at all it does not run better
        return math.inf


def _spoilt(batches: Sequence[Any]) -> str:
    """The first NaN, unless the first batch has some too, which trained: the loss leaves them out then."""
    for number, batch in enumerate(batches):
        for place, tensor in tensors_of(batch):
            if tensor.layout is torch.strided and bool(torch.isnan(tensor).any()):
                return f"batch {number}, at {place or 'its tensor'}" if number else ""
    return ""
