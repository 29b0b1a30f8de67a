"""The optimizers that a rate can be suggested for: three by name, or any that is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from gainstage.errors import SubjectError, UnknownNameError
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
        groups: Parameter groups of different rates.
    """

    subject: Subject
    name: str
    family: Family
    groups: int


def updates(subject: Subject, optimizer: str | None) -> Updates:
    """The subject with the optimizer that is asked for: its own, one by name, or Adam if it has none.

    Raises:
        UnknownNameError: if there is no optimizer of that name.
        SubjectError: if the subject has no trainable parameters, or its optimizer has no learning rate.
    """
    if optimizer is not None and optimizer not in _BUILT:
        raise UnknownNameError("suggest_lr", "optimizer", optimizer, OPTIMIZERS)
    own = subject.optimizer
    if optimizer is None and own is not None:
        if isinstance(own, torch.optim.LBFGS) or any("lr" not in group for group in own.param_groups):
            raise SubjectError(
                f"suggest_lr: the optimizer must step at a learning rate without a closure, got {type(own).__name__}. "
                "Name another: optimizer='sgd', 'momentum', 'adam' or 'adamw'."
            )
        return Updates(subject, _in_words(own), _family(own), len({float(group["lr"]) for group in own.param_groups}))
    parameters = [parameter for parameter in subject.model.parameters() if parameter.requires_grad]
    if not parameters:
        raise SubjectError("suggest_lr: the model must have trainable parameters, got none. Unfreeze some.")
    built = _BUILT[optimizer or "adam"](parameters)
    return Updates(subject.replace(optimizer=built), _in_words(built), _family(built), 1)


def _family(optimizer: torch.optim.Optimizer) -> Family:
    settings: dict[str, Any] = optimizer.param_groups[0]
    if any(name in settings for name in ("betas", "beta2", "alpha", "rho", "lr_decay")):
        return "adaptive"
    return "momentum" if settings.get("momentum", 0) else "plain"


def _in_words(optimizer: torch.optim.Optimizer) -> str:
    momentum = optimizer.param_groups[0].get("momentum", 0)
    name = type(optimizer).__name__
    return f"{name} with momentum {momentum:g}" if momentum else name
