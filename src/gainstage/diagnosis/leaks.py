"""Whether the model is given the answers: sequences of targets that stand among the inputs, where outputs see them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from gainstage.diagnosis.passes import answered, copied_batch, copied_loss, inputs_of
from gainstage.trace import call
from gainstage.trace.subject import Subject
from gainstage.trace.target_records import LeakRecord

# So many sequences are run; they are a small part of a batch's cost.
FEW = 2
SHORTEST, FEWEST_KNOWN = 4, 8
FLAT = 2  # dimensions: sequences of ids
# A series that stays as it is for long equals itself one step on.
CHANGING = 0.5
# Sums in another order differ by rounding; what an attended token adds is more of the outputs' spread.
EXACT = 1e-4


def leaked_targets(subject: Subject, seed: int = 0) -> LeakRecord | None:
    """What the outputs have seen of their targets, where those are the inputs, or the inputs one step on.

    It costs three forward passes on two sequences, and none where the targets are no such thing.

    Args:
        subject: Whose first batch it is; stays as it is.
        seed: Of random numbers, the same in both passes.
    """
    if subject.forward is not None:
        return None
    batch = call.plain(call.to_device(subject.batches.first(), subject.model))
    targets = call.unpack(batch).targets
    if not isinstance(targets, Tensor) or targets.ndim < 2 or targets.dtype is torch.bool:
        return None
    try:
        return _leak(subject, batch, targets, seed)
    except Exception:  # A model may be made for one size of batch alone; no other rule must fail with it.
        return None


def _leak(subject: Subject, batch: Any, targets: Tensor, seed: int) -> LeakRecord | None:
    for number, given in enumerate(inputs_of(batch)):
        for along in (1, 0) if given.shape == targets.shape else ():
            shift = _shift(given, targets, along)
            if shift is not None:
                return _seen(subject, batch, number, along, shift, seed)
    return None


def _shift(given: Tensor, targets: Tensor, along: int) -> int | None:
    """By how many steps the targets are ahead of the inputs: 0 or 1; None if they are something else."""
    steps, samples = given.shape[along], given.shape[1 - along]
    if steps < SHORTEST or samples < FEW:
        return None
    known = targets >= 0 if not targets.is_floating_point() else torch.ones_like(targets, dtype=torch.bool)
    now, later = given.narrow(along, 0, steps - 1), given.narrow(along, 1, steps - 1)
    counting = known.narrow(along, 0, steps - 1)
    if int(counting.sum()) < FEWEST_KNOWN or float((now != later)[counting].float().mean()) < CHANGING:
        return None
    aimed = targets.narrow(along, 0, steps - 1)
    if bool((aimed == later)[counting].all()):
        return 1
    # Of numbers that are to be given back, or of pictures, a network has something to learn.
    same = given.ndim == FLAT and not targets.is_floating_point() and bool((targets == given)[known].all())
    return 0 if same else None


def _seen(subject: Subject, batch: Any, number: int, along: int, shift: int, seed: int) -> LeakRecord | None:
    shape = inputs_of(batch)[number].shape
    samples, steps = 1 - along, shape[along]

    def few(tensor: Tensor) -> Tensor:
        of_all = tensor.ndim > samples and tensor.shape[samples] == shape[samples]
        return (tensor.narrow(samples, 0, FEW) if of_all else tensor).clone()

    batch = pytree.tree_map_only(torch.Tensor, few, batch)
    before = answered(subject, batch, seed)
    place = steps // 2
    changed = copied_batch(batch)
    entry = inputs_of(changed)[number].select(along, place)
    entry.copy_(_another(entry, inputs_of(changed)[number]))
    after = answered(subject, changed, seed)
    if not isinstance(before, Tensor) or before.shape != after.shape or not bool(before.isfinite().all()):
        return None
    sizes = [dim for dim in range(before.ndim) if before.shape[dim] == steps]
    spread = float(before.double().std())
    if len(sizes) != 1 or not spread or not _paired(subject, before, batch, (along, sizes[0], place)):
        return None
    # A model may draw noise that no seed of torch's reaches.
    if not torch.equal(before, answered(subject, batch, seed)):
        return None
    moved = (after - before).double().abs()
    at = float(moved.select(sizes[0], place).max()) / spread
    ahead = float(moved.select(sizes[0], place - 1).max()) / spread
    return LeakRecord(shift, at > EXACT, ahead > EXACT)


def _paired(subject: Subject, outputs: Tensor, batch: Any, where: tuple[int, int, int]) -> bool:
    """Whether the loss sets the output at a place against the target there, and does not shift them by itself.

    Args:
        where: The dimension of the steps in the targets and in the outputs, and the place.
    """
    along, among, place = where
    targets = call.unpack(batch).targets
    asked = subject if subject.loss is None else subject.replace(loss=copied_loss(subject.loss))

    def slope(of: Tensor) -> Tensor:
        with torch.enable_grad():
            said = outputs.detach().clone().requires_grad_(True)
            _, _, compute = call.choose_loss(asked, said, of)
            return torch.autograd.grad(call.scalar_loss(compute(), "loss"), said)[0]

    other = targets.clone()
    other.select(along, place).copy_(_another(targets.select(along, place), targets))
    moved = (slope(other) - slope(targets)).abs().movedim(among, 0).flatten(1).sum(1)
    return bool(moved.any()) and int(moved.argmax()) == place


def _another(entry: Tensor, all_of_them: Tensor) -> Tensor:
    """For each value another one that occurs."""
    values = all_of_them.unique()
    place = torch.searchsorted(values, entry.contiguous())
    # The first may be a padding's, which is not looked at.
    return values[torch.where(place == len(values) - 1, len(values) - 2, place + 1)]
