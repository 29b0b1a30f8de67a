"""A few optimizer steps on a copy, for the rules that need time."""

from __future__ import annotations

from gainstage.landscape.training import BATCHES, gradients_kept, trained
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
        cached = subject.replace(batches=subject.batches.take(BATCHES))
        return TrialRecord(steps, trained(copied(cached), steps, seed, lambda _: None))
