"""A few optimizer steps on a copy, for the rules that need time."""

from __future__ import annotations

import math
from itertools import cycle

from gainstage.remedies.copies import copied
from gainstage.seeding import preserved_rng
from gainstage.trace.call import batch_loss
from gainstage.trace.records import TrialRecord
from gainstage.trace.subject import Subject

BATCHES = 64


def short_trial(subject: Subject, steps: int, seed: int = 0) -> TrialRecord:
    """Losses of ``steps`` steps on a copy of the model with a copy of its optimizer.

    The series' first batches are gone through in order, again and again. It ends at the first loss that is not
    finite.

    Raises:
        SubjectError: if the model cannot be copied.
    """
    losses: list[float] = []
    with preserved_rng(seed):
        copy = copied(subject)
        optimizer = copy.optimizer
        assert optimizer is not None
        for batch, _ in zip(cycle(copy.batches.take(BATCHES)), range(steps), strict=False):
            optimizer.zero_grad(set_to_none=True)
            loss = batch_loss(copy, copy.model, batch)
            losses.append(float(loss.detach()))
            if not math.isfinite(losses[-1]):
                break
            loss.backward()
            optimizer.step()
    return TrialRecord(steps, tuple(losses))
