"""Further passes of the model in eval mode, on batches that were changed: what its outputs owe to what."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
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


def said(subject: Subject, batch: Any, seed: int) -> Tensor | None:
    """What the model predicts in eval mode; the model and the batch stay as they are."""
    with undisturbed(subject.model, seed=seed):
        set_mode(subject.model.modules(), training=False)
        return call.prediction(returned(subject.model, copied_batch(batch)))
