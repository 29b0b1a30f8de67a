"""Labels of further batches, read where the first batch has only one: whether the data stand sorted by class."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

import torch

from gainstage.trace import call
from gainstage.trace.records import Trace
from gainstage.trace.subject import Subject
from gainstage.trace.target_records import FurtherLabels, LabelRecord

# So many batches are read, or as many as hold so many samples.
MOST_BATCHES, ENOUGH = 16, 256


def further_labels(subject: Subject, trace: Trace) -> tuple[FurtherLabels, ...]:
    """What labels the batches after the first have.

    Nothing is read unless the first batch has one label alone, as a tensor of its own. It costs no pass of the model.

    Args:
        subject: Whose batches they are.
        trace: Of the first.

    Returns:
        One record a batch; empty where nothing was read, or where the batches have another form.
    """
    labels = trace.loss_record.labels if trace.loss_record is not None else None
    if labels is None or not _one_alone(labels, trace):
        return ()
    try:
        return tuple(_read(subject, labels))
    except Exception:  # What a loader raises later on is no reason to fail over the first batch.
        return ()


def _one_alone(labels: LabelRecord, trace: Trace) -> bool:
    whole = len(trace.targets) == 1 and labels.count == math.prod(trace.targets[0].shape) > 1
    return labels.given and whole and labels.low is not None and labels.low == labels.high and not labels.outside


def _read(subject: Subject, labels: LabelRecord) -> Iterator[FurtherLabels]:
    seen = 0
    for batch in islice(subject.batches, 1, MOST_BATCHES):
        targets = call.unpack(batch).targets
        if not isinstance(targets, torch.Tensor) or targets.numel() == 0:
            return
        low, high = torch.aminmax(targets.detach())
        samples = len(targets) if targets.ndim else 1
        yield FurtherLabels(samples, targets.numel(), int((targets == labels.low).sum()), float(low), float(high))
        seen += samples
        if seen >= ENOUGH:
            return
