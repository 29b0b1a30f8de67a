"""Whether the samples of a batch are kept apart: one of them is exchanged, and the others' outputs are looked at."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch.utils import _pytree as pytree

from gainstage.trace import call
from gainstage.trace.records import Trace
from gainstage.trace.running import returned, set_mode, undisturbed
from gainstage.trace.subject import Subject
from gainstage.trace.training_records import MixingRecord

# Samples that are run; of a large batch they are a small part of its cost.
FEW = 8


def mixing(subject: Subject, trace: Trace, seed: int = 0) -> MixingRecord:
    """How far the outputs of samples change when another sample of their batch is exchanged, in eval mode.

    It costs two forward passes on a few samples. The subject stays as it is.

    Args:
        subject: Whose first batch it is.
        trace: Of the subject.
        seed: Of random numbers, the same in both passes.

    Returns:
        `MixingRecord`; where it is not known which dimension the samples stand in, one with the reason.
    """
    if subject.forward is not None:
        return MixingRecord(reason="the step is written by hand: where its samples stand is not known")
    tensors = (*subject.model.parameters(), *subject.model.buffers())
    if any(is_lazy(tensor) for tensor in tensors):
        return MixingRecord(reason="its lazy layers are made by their first pass, which is not for a check to make")
    norms = [layer.norm for layer in trace.layers if layer.norm is not None]
    if any(norm.type == "batch" and norm.updates is None for norm in norms):
        return MixingRecord(reason="a batch norm without running statistics mixes samples by design")
    batch = call.plain(call.to_device(subject.batches.first(), subject.model))
    rows = _rows(batch)
    if isinstance(rows, str):
        return MixingRecord(reason=rows)
    try:
        return _measured(subject, batch, rows, trace, seed)
    except Exception as error:  # A model may be made for one size of batch alone; no other rule must fail with it.
        return MixingRecord(reason=" ".join(str(error).split())[:300] or type(error).__name__)


def _rows(batch: Any) -> int | str:
    """How many samples there are, each with a row of every input and with one target; or why that is not known."""
    unpacked = call.unpack(batch)
    targets = unpacked.targets
    if not isinstance(targets, Tensor) or targets.ndim not in (1, 2) or (targets.ndim == 2 and targets.shape[1] != 1):
        return "needs one target for each sample: they tell which dimension the samples stand in"
    inputs = _inputs(batch)
    if not inputs or any(tensor.ndim == 0 or tensor.shape[0] != len(targets) for tensor in inputs):
        return "the inputs have not one row for each target"
    if max(tensor.ndim + (not tensor.is_floating_point()) for tensor in inputs) < 3:
        return "rows of a table may be nodes of one graph or steps of one sequence"
    return len(targets)


def _measured(subject: Subject, batch: Any, rows: int, trace: Trace, seed: int) -> MixingRecord:
    count = min(rows, FEW)
    few = pytree.tree_map_only(torch.Tensor, lambda t: t[:count].clone() if t.ndim and len(t) == rows else t, batch)
    inputs = _inputs(few)
    other = next((row for row in range(1, count) if any(not torch.equal(t[0], t[row]) for t in inputs)), None)
    if other is None:
        return MixingRecord(reason="needs two samples that differ")
    exchanged = _copied(few)
    for tensor in _inputs(exchanged):
        tensor[0] = tensor[other].clone()
    before, after = _said(subject, _copied(few), seed), _said(subject, exchanged, seed)
    if before is not None and not _one_row_each(before, rows, trace):
        return MixingRecord(
            reason="the outputs compare the samples with each other: they are as wide as the batch is long"
        )
    return _compared(before, after, count)


def _one_row_each(said: Tensor, rows: int, trace: Trace) -> bool:
    """Whether only the outputs' first size follows the number of samples."""
    if rows == len(said) and said.ndim == 2 and said.shape[1] == rows:
        return False
    return any(output.shape == (rows, *said.shape[1:]) for output in trace.outputs)


def _said(subject: Subject, batch: Any, seed: int) -> Tensor | None:
    with undisturbed(subject.model, seed=seed):
        set_mode(subject.model.modules(), training=False)
        return call.prediction(returned(subject.model, batch))


def _compared(before: Tensor | None, after: Tensor | None, count: int) -> MixingRecord:
    if before is None or after is None or before.ndim == 0 or len(before) != count or before.shape != after.shape:
        return MixingRecord(reason="the output has not one row for each sample")
    before, after = before.detach().double(), after.detach().double()
    spread = float((before - before.mean(0)).square().mean().sqrt()) or float(before.square().mean().sqrt())
    moved = float((after - before)[1:].abs().max())
    if not spread or not bool(before.isfinite().all() & after.isfinite().all()):
        return MixingRecord(reason="the outputs are all zero or not finite")
    return MixingRecord(samples=count, change=moved / spread)


def _inputs(batch: Any) -> list[Tensor]:
    unpacked = call.unpack(batch)
    named = {key: value for key, value in unpacked.kwargs.items() if key != "labels"}
    return [tensor for _, tensor in call.tensors_of((unpacked.args, named))]


def _copied(batch: Any) -> Any:
    return pytree.tree_map_only(torch.Tensor, torch.clone, batch)
