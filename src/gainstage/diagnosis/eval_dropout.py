"""Dropout that goes on in eval mode, as that of a function does which is not told of the mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from gainstage.diagnosis.passes import answered, inputs_of
from gainstage.trace import call
from gainstage.trace.records import Trace
from gainstage.trace.subject import Subject

# Samples that are run.
FEW = 2
aten = torch.ops.aten
# torch.bernoulli, which samples from probabilities that a model computes, is none of them.
_DROPS = frozenset((aten.native_dropout.default, aten.bernoulli_.float))


def dropout_in_eval(subject: Subject, trace: Trace, seed: int = 0) -> int:
    """How many times a pass in eval mode drops values at random.

    It costs a pass on two samples, and none where training drops nothing.

    Args:
        subject: Whose first batch it is; stays as it is.
        trace: Of the subject.
        seed: Of random numbers.
    """
    via = [op for layer in trace.layers for op in layer.via] + list(trace.loss_record.via if trace.loss_record else ())
    if "dropout" not in via or subject.forward is not None:
        return 0
    batch = call.plain(call.to_device(subject.batches.first(), subject.model))
    rows = {len(tensor) for tensor in inputs_of(batch) if tensor.ndim}
    count = rows.pop() if len(rows) == 1 else 0

    def few(tensor: torch.Tensor) -> torch.Tensor:
        return tensor[:FEW] if tensor.ndim and len(tensor) == count else tensor

    counting = _Counting()
    try:
        with counting:
            answered(subject, pytree.tree_map_only(torch.Tensor, few, batch), seed)
    except Exception:  # A model may be made for one size of batch alone; no other rule must fail with it.
        return 0
    return counting.found


class _Counting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.found = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.found += func in _DROPS
        return func(*args, **(kwargs or {}))
