"""Changing a copied subject in place: its modules, and its optimizer in line with them."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from gainstage.errors import SubjectError
from gainstage.trace.subject import Subject


def refit_optimizer_(
    subject: Subject, *, removed: Iterable[nn.Parameter] = (), redrawn: Iterable[nn.Parameter] = ()
) -> None:
    """Brings a copied subject's optimizer in line with its changed model, in place.

    Args:
        subject: The copy.
        removed: Parameters that the model no longer has: they leave their groups.
        redrawn: Parameters whose values are new: their state (momenta, step counts) is forgotten.
    """
    optimizer = subject.optimizer
    if optimizer is None:
        return
    without, new = list(removed), list(redrawn)
    gone = {id(parameter) for parameter in without}
    for parameter in [*without, *new]:
        optimizer.state.pop(parameter, None)
    for group in optimizer.param_groups:
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in gone]


def module_at(model: nn.Module, path: str) -> nn.Module:
    """The module at a dotted path; ``""`` is the model.

    Raises:
        SubjectError: if there is none.
    """
    try:
        return model.get_submodule(path)
    except AttributeError as error:
        raise SubjectError(
            f"fix: module must be a path of {type(model).__name__}, got {path!r}. Check the model anew, and take the "
            "fix from that report."
        ) from error


def replace_module_(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Puts ``new`` wherever ``old`` is registered below the model, in place."""
    for parent in list(model.modules()):
        # named_children names a module once only, however often its parent holds it.
        for name, child in list(parent._modules.items()):  # pyright: ignore[reportPrivateUsage]
            if child is old:
                setattr(parent, name, new)
