"""What outputs owe to what: to other samples of the batch, to the parts of their own input, to the order of tokens.

Parts of a few samples are exchanged, and the outputs are looked at.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch.utils import _pytree as pytree

from gainstage.diagnosis.passes import copied_batch, inputs_of, said, sets_itself_up
from gainstage.trace import call
from gainstage.trace.records import Trace
from gainstage.trace.subject import Subject
from gainstage.trace.training_records import MixingRecord

# Samples that are run; of a large batch they are a small part of its cost.
FEW, FEW_SEQUENCES = 8, 2
ROUNDING = 1e-6
# Sums in another order differ by rounding; what a position adds is more of the outputs' spread over samples.
EXACT = 1e-4
LONG = 8


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
    inputs = inputs_of(batch)
    # Pictures and clips stand in dimension 0; of smaller tensors it may be that of the steps.
    pictures = bool(inputs) and all(tensor.ndim >= 4 and tensor.is_floating_point() for tensor in inputs)
    each = isinstance(targets, Tensor) and (
        targets.ndim == 1
        or (targets.ndim == 2 and (pictures or targets.shape[1] == 1 or _one_row_a_sequence(inputs, targets)))
    )
    if _per_token(batch):
        return len(inputs[0])
    if not isinstance(targets, Tensor) or not each:
        return "needs one target for each sample: they tell which dimension the samples stand in"
    if not inputs or any(tensor.ndim == 0 or tensor.shape[0] != len(targets) for tensor in inputs):
        return "the inputs have not one row for each target"
    if max(tensor.ndim + (not tensor.is_floating_point()) for tensor in inputs) < 3:
        return "rows of a table may be nodes of one graph or steps of one sequence"
    return len(targets)


def _one_row_a_sequence(inputs: list[Tensor], targets: Tensor) -> bool:
    """Whether each sequence of features has a row of targets: no second size of the inputs is that row's."""
    return bool(inputs) and all(tensor.ndim == 3 and tensor.shape[1] != targets.shape[1] for tensor in inputs)


def _per_token(batch: Any) -> bool:
    """Whether sequences of token ids have a target for each token."""
    targets, inputs = call.unpack(batch).targets, inputs_of(batch)
    return (
        isinstance(targets, Tensor)
        and len(inputs) == 1
        and inputs[0].ndim == 2
        and inputs[0].shape == targets.shape
        and not inputs[0].is_floating_point()
        and not targets.is_floating_point()
    )


def _measured(subject: Subject, batch: Any, rows: int, trace: Trace, seed: int) -> MixingRecord:
    count = min(rows, FEW_SEQUENCES if _per_token(batch) else FEW)
    few = pytree.tree_map_only(torch.Tensor, lambda t: t[:count].clone() if t.ndim and len(t) == rows else t, batch)
    inputs = inputs_of(few)
    other = next((row for row in range(1, count) if any(not torch.equal(t[0], t[row]) for t in inputs)), None)
    if other is None:
        return MixingRecord(reason="needs two samples that differ")
    exchanged = copied_batch(few)
    for tensor in inputs_of(exchanged):
        tensor[0] = tensor[other].clone()
    before, after = said(subject, few, seed), said(subject, exchanged, seed)
    if before is not None and not _one_row_each(before, rows, trace):
        return MixingRecord(
            reason="the outputs compare the samples with each other: they are as wide as the batch is long"
        )
    found = _compared(before, after, count)
    if (found.change or 0.0) > EXACT and sets_itself_up(subject, few, seed):
        return MixingRecord(reason="its first pass sets parameters to what the batch asks for")
    if _per_token(batch) and (found.change is None or found.change > EXACT):
        return MixingRecord(reason="what stands in dimension 0 may be the steps of sequences")
    norms = [layer.norm for layer in trace.layers if layer.norm is not None]
    if any(norm.type == "batch" and norm.uses_batch_statistics for norm in norms):
        return replace(found, spread=None)  # in eval mode running statistics that are fresh normalize nothing
    if found.reason or before is None or (found.spread or 0.0) < ROUNDING:
        return found
    try:
        return replace(
            found,
            first_alone=_first_alone(subject, few, before, seed),
            orderless=_orderless(subject, few, before, trace, seed),
        )
    except Exception:  # A model may refuse such inputs, and what was found before stands.
        return found


def _first_alone(subject: Subject, few: Any, before: Tensor, seed: int) -> bool:
    """Whether all steps or rows but the first may be another sample's without any output being another.

    Of halves it would say too much: a recurrent layer forgets at first what is some tens of steps away.
    """
    changed = copied_batch(few)
    inputs = inputs_of(changed)
    if len(inputs) != 1 or inputs[0].ndim not in (2, 3, 4):
        return False
    along = 2 if inputs[0].ndim == 4 else 1
    if inputs[0].shape[along] < LONG:
        return False
    rest = inputs[0].narrow(along, 1, inputs[0].shape[along] - 1)
    other = rest.roll(1, 0)
    if torch.equal(rest, other):
        return False
    rest.copy_(other)
    return _same(before, said(subject, changed, seed))


def _orderless(subject: Subject, few: Any, before: Tensor, trace: Trace, seed: int) -> bool | None:
    """Whether attention over tokens tells nothing of their order."""
    inputs = inputs_of(few)
    attends = any(
        layer.kind == "attention" or (layer.op == "softmax" and position not in trace.returned)
        for position, layer in enumerate(trace.layers)
    )
    if len(inputs) != 1 or inputs[0].ndim != 2 or inputs[0].is_floating_point() or not attends:
        return None
    changed = copied_batch(few)
    tensor = inputs_of(changed)[0]
    if not _per_token(few) and not _one_vocabulary(tensor, trace):
        return None
    order = torch.arange(tensor.shape[1] - 1, -1, -1, device=tensor.device)
    if bool((tensor[:, order] == tensor).all()):
        return None
    tensor.copy_(tensor[:, order].clone())
    after = said(subject, changed, seed)
    per_token = before.ndim > 2 and before.shape[1] == tensor.shape[1]
    return _same(before, after) or (per_token and after is not None and _same(before[:, order], after))


def _one_vocabulary(tokens: Tensor, trace: Trace) -> bool:
    """Whether all columns are tokens of one table: those of a table of facts are not to be turned round.

    An id that another column's table has not would end the process on an accelerator.
    """
    rows = [layer.batch_size for layer in trace.layers if layer.batch_size is not None]
    whole = [layer for layer in trace.layers if layer.kind == "embedding" and len(layer.shape) > 2]
    by_column = any(layer.kind == "embedding" and layer.shape[:1] == tuple(rows[:1]) and len(layer.shape) == 2
                    for layer in trace.layers)  # fmt: skip
    low, high = tokens.amin(0), tokens.amax(0)
    shared = bool((torch.maximum(low, low.flip(0)) <= torch.minimum(high, high.flip(0))).all())
    return bool(whole) and not by_column and shared


def _same(before: Tensor, after: Tensor | None) -> bool:
    if after is None or before.shape != after.shape:
        return False
    before, after = before.detach().double(), after.detach().double()
    return float((after - before).abs().max()) <= EXACT * float((before - before.mean(0)).square().mean().sqrt())


def _one_row_each(said: Tensor, rows: int, trace: Trace) -> bool:
    """Whether only the outputs' first size follows the number of samples."""
    if rows == len(said) and said.ndim == 2 and said.shape[1] == rows:
        return False
    return any(output.shape == (rows, *said.shape[1:]) for output in trace.outputs)


def _compared(before: Tensor | None, after: Tensor | None, count: int) -> MixingRecord:
    if before is None or after is None or before.ndim == 0 or len(before) != count or before.shape != after.shape:
        return MixingRecord(reason="the output has not one row for each sample")
    before, after = before.detach().double(), after.detach().double()
    level = float(before.square().mean().sqrt())
    spread = float((before - before.mean(0)).square().mean().sqrt())
    moved = float((after - before)[1:].abs().max())
    if not level or not bool(before.isfinite().all() & after.isfinite().all()):
        return MixingRecord(reason="the outputs are all zero or not finite")
    # Where outputs differ by rounding alone, so does what becomes of them.
    change = moved / (spread if spread > ROUNDING * level else level)
    return MixingRecord(samples=count, change=change, spread=spread / level)
