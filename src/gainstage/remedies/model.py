"""Remedies that change the model: its weights, its mode, its output, its biases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from gainstage.errors import SubjectError
from gainstage.remedies.copies import copied, refit_optimizer, replace_module_
from gainstage.remedies.losses import loss_on_activated
from gainstage.schemes import initialize
from gainstage.trace.subject import Subject

_ACTIVATIONS = (nn.Softmax, nn.LogSoftmax, nn.Sigmoid, nn.Hardsigmoid, nn.ReLU, nn.ReLU6, nn.Tanh)


def reinitialize(subject: Subject, *, scheme: str = "auto", seed: int = 0) -> Subject:
    """A copy whose weights are drawn anew by `gainstage.initialize`, its optimizer's state forgotten."""
    new = copied(subject)
    initialize(new.model, new.batches.first(), scheme=scheme, seed=seed)
    refit_optimizer(new, redrawn=True)
    return new


def to_train_mode(subject: Subject, *, modules: tuple[str, ...]) -> Subject:
    """A copy with these modules, and all in them, in training mode; ``("",)`` is the whole model."""
    new = copied(subject)
    for path in modules:
        new.model.get_submodule(path).train()
    return new


def drop_output_activation(subject: Subject, *, module: str, op: str) -> Subject:
    """A copy whose loss no longer reads an activated output.

    An activation that is a module is replaced by `torch.nn.Identity`. One that was called as a function cannot be
    taken out of the user's code: there the loss is replaced by the one that expects it.

    Args:
        module: Dotted path of the module that applied it.
        op: The activation (``softmax``).

    Raises:
        SubjectError: if it is a function for which there is no such loss.
    """
    new = copied(subject)
    if module and isinstance(new.model.get_submodule(module), _ACTIVATIONS):
        replace_module_(new.model, module, nn.Identity())
        return new
    return new.replace(loss=proper_loss(op))


def proper_loss(op: str) -> Callable[[Any, Any], Any]:
    """The loss that reads outputs on which this activation has been applied.

    Raises:
        SubjectError: if there is none.
    """
    loss = loss_on_activated(op)
    if loss is None:
        raise SubjectError(f"fix: the output's {op} must be a module to be dropped, got a function call. Remove it.")
    return loss


def drop_bias(subject: Subject, *, modules: tuple[str, ...]) -> Subject:
    """A copy without the biases of these modules, which its optimizer no longer holds either."""
    new = copied(subject)
    for path in modules:
        new.model.get_submodule(path).register_parameter("bias", None)
    refit_optimizer(new)
    return new
