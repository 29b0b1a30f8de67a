"""Copying a subject so that nothing done to the copy reaches the original.

Model and optimizer are copied together: the copied optimizer holds the copied parameters, with its state.
"""

from __future__ import annotations

import copy

from torch import nn

from gainstage.errors import SubjectError
from gainstage.trace.subject import Subject


def copied(subject: Subject) -> Subject:
    """The subject with a model and an optimizer of its own; batches, loss and forward are shared.

    A loss that is a module with parameters is copied with them.

    Raises:
        SubjectError: if the model cannot be copied.
    """
    loss = subject.loss if isinstance(subject.loss, nn.Module) else None
    try:
        model, optimizer, own_loss = copy.deepcopy((subject.model, subject.optimizer, loss))
    except Exception as error:
        raise SubjectError(
            f"copy: the model must be copyable, got {type(error).__name__}: {error} from copy.deepcopy. "
            "Tensors that are attributes but neither parameters nor buffers are the usual reason: register them."
        ) from error
    return subject.replace(model=model, optimizer=optimizer, loss=own_loss or subject.loss)


def refit_optimizer(subject: Subject, *, redrawn: bool = False) -> None:
    """Brings a copied subject's optimizer in line with its changed model, in place.

    Args:
        subject: The copy.
        redrawn: Also forget the state (momenta) of all parameters, because their values are new.
    """
    optimizer = subject.optimizer
    if optimizer is None:
        return
    alive = {id(parameter) for parameter in subject.model.parameters()}
    if isinstance(subject.loss, nn.Module):
        alive |= {id(parameter) for parameter in subject.loss.parameters()}
    for group in optimizer.param_groups:
        for parameter in [p for p in group["params"] if id(p) not in alive]:
            optimizer.state.pop(parameter, None)
        group["params"] = [p for p in group["params"] if id(p) in alive]
    if redrawn:
        optimizer.state.clear()


def replace_module_(model: nn.Module, path: str, new: nn.Module) -> None:
    """Puts ``new`` at a dotted path, in place.

    Raises:
        SubjectError: if the path is the root, which has no place to be put.
    """
    parent, _, name = path.rpartition(".")
    if not name:
        raise SubjectError("fix: the module must have a parent, got the root. Change the model itself.")
    setattr(model.get_submodule(parent), name, new)
