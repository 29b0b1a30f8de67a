"""Copying a subject so that nothing done to the copy reaches the original.

Model and optimizer are copied together: the copied optimizer holds the copied parameters, with its state.
"""

from __future__ import annotations

import copy
from types import MethodType
from typing import Any

import torch
from torch import nn

from gainstage.errors import SubjectError
from gainstage.trace.subject import Subject


def copied(subject: Subject) -> Subject:
    """The subject with a model and an optimizer of its own; batches are shared.

    A loss or forward that is a module, or a method of one, is copied along: it belongs to the copied parameters.

    Raises:
        SubjectError: if the model cannot be copied.
    """
    bound = tuple(part if _of_module(part) else None for part in (subject.loss, subject.forward))
    try:
        # With gradients on, the copy of a scripted module has a history that ends in the original.
        with torch.no_grad():
            model, optimizer, (loss, forward) = copy.deepcopy((subject.model, subject.optimizer, bound))
    except Exception as error:
        detail = " ".join(str(error).split())
        raise SubjectError(
            f"copy: the model must be copyable, got {type(error).__name__}: {detail} from copy.deepcopy. "
            "Tensors that are attributes but neither parameters nor buffers are the usual reason: register them."
        ) from error
    for old, new in zip(subject.model.parameters(), model.parameters(), strict=True):
        new.requires_grad_(old.requires_grad)
    return subject.replace(
        model=model, optimizer=optimizer,
        loss=subject.loss if loss is None else loss, forward=subject.forward if forward is None else forward,
    )  # fmt: skip


def _of_module(part: Any) -> bool:
    return isinstance(part, nn.Module) or (isinstance(part, MethodType) and isinstance(part.__self__, nn.Module))
