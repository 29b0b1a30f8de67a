"""Remedies that change the model: its weights, its mode, its output, its biases."""

from __future__ import annotations

from torch import nn

from gainstage.errors import SubjectError
from gainstage.remedies.changes import module_at, refit_optimizer_, replace_module_
from gainstage.remedies.losses import loss_without
from gainstage.schemes.initialize import initialize_subject
from gainstage.trace import record
from gainstage.trace.copies import copied
from gainstage.trace.subject import Subject

_ACTIVATIONS = (nn.Softmax, nn.LogSoftmax, nn.Sigmoid, nn.Hardsigmoid, nn.ReLU, nn.ReLU6, nn.Tanh)


def reinitialize(subject: Subject, *, scheme: str = "auto", seed: int = 0) -> Subject:
    """A copy whose weights are drawn anew as `gainstage.initialize` does, on the subject's first batch.

    The optimizer forgets its state for what was drawn, and keeps it for the rest.

    Args:
        subject: Any.
        scheme, seed: As for `gainstage.initialize`.

    Raises:
        SubjectError: if the model cannot be copied, or its batch does not fit.
        UnknownNameError: if there is no such scheme.
    """
    new = copied(subject)
    drawn = set(initialize_subject(new, scheme=scheme, seed=seed).initialized)
    refit_optimizer_(new, redrawn=[parameter for name, parameter in new.model.named_parameters() if name in drawn])
    return new


def to_train_mode(subject: Subject, *, modules: tuple[str, ...]) -> Subject:
    """A copy with these modules, and all in them, in training mode.

    Args:
        subject: Any.
        modules: Dotted paths; ``("",)`` is the whole model.

    Raises:
        SubjectError: if the model cannot be copied, or has no such module.
    """
    new = copied(subject)
    for path in modules:
        module_at(new.model, path).train()
    return new


def drop_output_activation(subject: Subject, *, module: str, op: str) -> Subject:
    """A copy whose loss no longer reads an activated output.

    An activation that is a module of its own, run once, is replaced by `torch.nn.Identity`. One that is called as
    a function, or whose module serves elsewhere too, cannot be taken out of the user's code: there the loss
    undoes it, which is the negative log-likelihood of the probabilities for softmax before cross-entropy and for
    sigmoid before BCE-with-logits.

    Args:
        subject: Any.
        module: Dotted path of the module that applied the activation.
        op: The activation (``softmax``).

    Raises:
        SubjectError: if it is no module, and the loss cannot undo it.
    """
    new = copied(subject)
    found = module_at(new.model, module)
    if module and isinstance(found, _ACTIVATIONS) and _runs(new, module) == 1:
        replace_module_(new.model, found, nn.Identity())
        return new
    loss = loss_without(new, op)
    if loss is None:
        where = "the loss is hidden in forward=" if new.forward is not None else "it cannot be undone in the loss"
        raise SubjectError(
            f"fix: the output's {op} must be a module of its own to be dropped, got a function call or a module that "
            f"serves elsewhere too, and {where}. Remove it in the model's code."
        )
    return new.replace(loss=loss)


def _runs(subject: Subject, module: str) -> int:
    """How often the module ran in one pass."""
    trace = record(subject, backward=False)
    return sum(layer.kind == "activation" and layer.module == module for layer in trace.layers)


def drop_bias(subject: Subject, *, modules: tuple[str, ...]) -> Subject:
    """A copy without the biases of these modules, which its optimizer no longer holds either.

    Before a norm over the batch or over the features that the bias spans, it changes nothing in train mode: the
    norm takes a constant away.

    Args:
        subject: Any.
        modules: Dotted paths of linear or convolutional modules.

    Raises:
        SubjectError: if the model cannot be copied, or one of these has no bias.
    """
    new = copied(subject)
    removed: list[nn.Parameter] = []
    for path in modules:
        module = module_at(new.model, path)
        bias = dict(module.named_parameters(recurse=False)).get("bias")
        if bias is None:
            raise SubjectError(
                f"fix: modules must have a bias to drop, got {type(module).__name__} at {path!r} without one. "
                "Check the model anew."
            )
        module.register_parameter("bias", None)
        removed.append(bias)
    still = {id(parameter) for parameter in new.model.parameters()}
    refit_optimizer_(new, removed=[bias for bias in removed if id(bias) not in still])
    return new
