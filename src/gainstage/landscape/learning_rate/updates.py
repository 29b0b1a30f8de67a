"""The optimizers that a rate can be suggested for: four by name, or any that is built and steps at its rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from gainstage.errors import InputError, SubjectError, UnknownNameError
from gainstage.landscape.training import rate_ratios
from gainstage.trace.subject import Subject

Family = Literal["plain", "momentum", "adaptive"]

_BUILT: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=1.0),
    "momentum": lambda parameters: torch.optim.SGD(parameters, lr=1.0, momentum=0.9),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=1.0),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=1.0),
}
OPTIMIZERS = tuple(_BUILT)


@dataclass(frozen=True)
class Updates:
    """How a subject is updated.

    Attributes:
        subject: With the optimizer, whose own learning rate does not matter.
        name: Of the optimizer, in words.
        family: ``plain``, ``momentum`` for steps that accumulate, ``adaptive`` for steps divided by a gradient's size.
        groups: How many different rates its parameter groups have.
    """

    subject: Subject
    name: str
    family: Family
    groups: int


def updates(subject: Subject, optimizer: str | None) -> Updates:
    """The subject with the optimizer that is asked for: its own, one by name, or Adam if it has none.

    Raises:
        InputError: if the optimizer is asked for by something else than a name.
        UnknownNameError: if there is no optimizer of that name.
        SubjectError: if the subject has no trainable parameters, or its optimizer does not step on any of them
            downhill at a learning rate.
    """
    require_name(optimizer)
    parameters = [parameter for parameter in subject.model.parameters() if parameter.requires_grad]
    if not parameters:
        raise SubjectError("suggest_lr: the model must have trainable parameters, got none. Unfreeze some.")
    own = subject.optimizer
    if optimizer is None and own is not None:
        _require_usable(own, parameters)
        return Updates(subject, _in_words(own), _family(own), len(set(rate_ratios(own))))
    built = _BUILT[optimizer or "adam"](parameters)
    return Updates(subject.replace(optimizer=built), _in_words(built), _family(built), 1)


def require_name(optimizer: Any) -> None:
    """Checks that there is an optimizer of that name, or that none was asked for.

    Raises:
        InputError: if it is no name.
        UnknownNameError: if it is an unknown one.
    """
    if not isinstance(optimizer, str | None):
        kind = optimizer.__name__ if isinstance(optimizer, type) else type(optimizer).__name__
        raise InputError(
            f"suggest_lr: optimizer must be a name, got {kind}. Pass a built one as Subject(..., optimizer=...)."
        )
    if optimizer is not None and optimizer not in _BUILT:
        raise UnknownNameError("suggest_lr", "optimizer", optimizer, OPTIMIZERS)


def _require_usable(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter]) -> None:
    kind, groups = type(optimizer).__name__, optimizer.param_groups
    another = "Name another: optimizer='sgd', 'momentum', 'adam' or 'adamw'."
    if isinstance(optimizer, torch.optim.LBFGS) or any("lr" not in group for group in groups):
        raise SubjectError(
            f"suggest_lr: the optimizer must step at a learning rate without a closure, got {kind}. {another}"
        )
    if isinstance(optimizer, torch.optim.Rprop):
        raise SubjectError(
            f"suggest_lr: the optimizer must use its learning rate at every step, got {kind}, which does at its first "
            f"alone. {another}"
        )
    if any(group.get("maximize") for group in groups):
        raise SubjectError(
            f"suggest_lr: the optimizer must lower the loss, got {kind} with maximize=True. Pass the loss with a minus "
            "sign, and an optimizer without maximize."
        )
    held = {id(parameter) for group in groups for parameter in group["params"]}
    if held.isdisjoint(map(id, parameters)):
        raise SubjectError(
            f"suggest_lr: the optimizer must hold trainable parameters of the model, got {kind} that holds none of "
            "them. Build it over model.parameters()."
        )


def _family(optimizer: torch.optim.Optimizer) -> Family:
    settings: dict[str, Any] = optimizer.param_groups[0]
    # Who divides by a gradient's size has an epsilon against one of zero; Lion, which takes the sign, has betas.
    if "eps" in settings or "betas" in settings:
        return "adaptive"
    return "momentum" if settings.get("momentum", 0) else "plain"


def _in_words(optimizer: torch.optim.Optimizer) -> str:
    momentum = optimizer.param_groups[0].get("momentum", 0)
    name = type(optimizer).__name__
    return f"{name} with momentum {momentum:g}" if momentum else name
