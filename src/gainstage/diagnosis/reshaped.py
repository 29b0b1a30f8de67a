"""Which reshapes look like transpositions whatever the number of samples is: sizes may be the same by chance."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils import _pytree as pytree

from gainstage.trace import call
from gainstage.trace.recorder import recording
from gainstage.trace.records import ReshapeRecord, Trace
from gainstage.trace.subject import Subject

# With fewer there is no other number to try.
FEWEST = 3


def confirmed_reshapes(subject: Subject, trace: Trace) -> tuple[ReshapeRecord, ...]:
    """Those of the trace that a pass on one sample less shows as well, in the same place and of the same sizes.

    It costs a forward pass, and nothing where there are none. A model that is made for one size of batch confirms
    nothing.

    Args:
        subject: Whose first batch it is; stays as it is.
        trace: Of the subject.
    """
    if not trace.reshapes:
        return ()
    batch = call.plain(call.to_device(subject.batches.first(), subject.model))
    count = next((len(tensor) for _, tensor in call.tensors_of(batch) if tensor.ndim), 0)
    if count < FEWEST:
        return ()
    try:
        other = recording(subject.replace(batches=[_fewer(batch, count)]), backward=False).trace.reshapes
    except Exception:  # A model may be made for one size of batch alone; no other rule must fail with it.
        return ()
    return tuple(record for record in trace.reshapes if any(_confirms(one, record, count) for one in other))


def _confirms(one: ReshapeRecord, record: ReshapeRecord, count: int) -> bool:
    """Whether it is the same with one sample less of so many: each size is the same, or is less by that share."""
    ours, theirs = (*record.before, *record.after), (*one.before, *one.after)
    return (one.module, one.in_loss, len(one.before)) == (record.module, record.in_loss, len(record.before)) and all(
        left == size or left * count == size * (count - 1) for size, left in zip(ours, theirs, strict=True)
    )


def _fewer(batch: Any, count: int) -> Any:
    def shortened(tensor: torch.Tensor) -> torch.Tensor:
        # Targets may stand one below the other, several for each sample.
        each = 0 if not tensor.ndim or len(tensor) % count else len(tensor) // count
        return tensor[:-each] if each else tensor

    return pytree.tree_map_only(torch.Tensor, shortened, batch)
