"""Further passes of the model in eval mode, on batches that were changed: what its outputs owe to what."""

from __future__ import annotations

import copy
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from gainstage.trace import call
from gainstage.trace.running import returned, set_mode, undisturbed
from gainstage.trace.subject import Subject


def inputs_of(batch: Any) -> list[Tensor]:
    """The tensors that the model is given, in order; labels that it reads by name are none."""
    unpacked = call.unpack(batch)
    named = {key: value for key, value in unpacked.kwargs.items() if key != "labels"}
    return [tensor for _, tensor in call.tensors_of((unpacked.args, named))]


def copied_batch(batch: Any) -> Any:
    """The batch with tensors of its own."""
    return pytree.tree_map_only(torch.Tensor, torch.clone, batch)


def answered(subject: Subject, batch: Any, seed: int) -> Any:
    """What the model returns in eval mode; the model and the batch stay as they are."""
    with undisturbed(subject.model, seed=seed):
        set_mode(subject.model.modules(), training=False)
        return returned(subject.model, copied_batch(batch))


def sets_itself_up(subject: Subject, batch: Any, seed: int) -> bool:
    """Whether a pass in eval mode writes to parameters, as norms do that are set from their first batch."""
    with undisturbed(subject.model, seed=seed):
        set_mode(subject.model.modules(), training=False)
        before = [parameter.detach().clone() for parameter in subject.model.parameters()]
        returned(subject.model, copied_batch(batch))
        return not all(
            old.shape == new.shape and torch.equal(old, new)
            for old, new in zip(before, subject.model.parameters(), strict=True)
        )


def said(subject: Subject, batch: Any, seed: int) -> Tensor | None:
    """What the model predicts in eval mode."""
    return call.prediction(answered(subject, batch, seed))


def copied_loss(loss: Any) -> Any:
    """A loss that may be asked without the user's own taking note of it: a copy where it keeps a state.

    Of a method, or of an object that holds a network, it is itself: these are not to be copied for a few numbers.

    Raises:
        RuntimeError: if it holds what cannot be copied, as tensors with a history.
    """
    held = vars(loss).values() if hasattr(loss, "__dict__") else ()
    if isinstance(loss, MethodType) or (
        not isinstance(loss, nn.Module) and any(isinstance(v, nn.Module) for v in held)
    ):
        return loss
    return copy.deepcopy(loss)
