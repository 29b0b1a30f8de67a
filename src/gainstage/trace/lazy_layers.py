"""Models with lazy layers: recorded as the copy that a first call would make of them."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import is_lazy

from gainstage.errors import GainstageError, SubjectError
from gainstage.trace import call
from gainstage.trace.subject import Subject


def built(subject: Subject, batch: Any) -> Subject:
    """The subject itself, or, with a lazy model, one with a copy whose layers have been built on the batch.

    Its optimizer is then one of the copy's parameters.

    Weights are drawn from the generators as they are, as a first call would.

    Raises:
        SubjectError: if a layer is lazy after the call as well.
    """
    if not any(isinstance(module, LazyModuleMixin) and _lazy(module) for module in subject.model.modules()):
        return subject
    # Together: the copied optimizer holds the copied parameters.
    model, optimizer = copy.deepcopy((subject.model, subject.optimizer), _copied_buffers(subject.model))
    modes = [(module, module.training) for module in model.modules()]
    error: Exception | None = None
    try:
        # In eval mode building leaves the running statistics of the norms as they are made.
        with torch.no_grad():
            call.batch_loss(subject, model.eval(), batch)
    except GainstageError:
        raise
    except Exception as caught:
        error = caught
    finally:
        for module, training in modes:
            module.training = training
    lazy = _lazy(model)
    if lazy:
        reason = f": {type(error).__name__}: {' '.join(str(error).split())}" if error else ""
        raise SubjectError(
            f"record: the model's lazy layers must be built by this batch, got {len(lazy)} parameters without a shape "
            f"({lazy[0]}){reason}. Call the model once on a batch before."
        ) from error
    return subject.replace(model=model, optimizer=optimizer, name=subject.name)


def _copied_buffers(model: nn.Module) -> dict[int, Any]:
    """What `copy.deepcopy` cannot copy itself: buffers without a shape."""
    make: Any = nn.parameter.UninitializedBuffer
    return {id(b): make(b.requires_grad, b.device, b.dtype) for b in model.buffers() if is_lazy(b)}


def _lazy(model: nn.Module) -> list[str]:
    tensors = (*model.named_parameters(), *model.named_buffers())
    return [name for name, tensor in tensors if is_lazy(tensor)]
