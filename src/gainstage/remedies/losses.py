"""Losses on outputs that have been through an activation already: the activation undone, then the loss itself.

Cross-entropy of log p is the negative log-likelihood of the probabilities p, as log-softmax(log p) = log p;
BCE-with-logits of log(p/(1 - p)) is the binary cross-entropy of p. Whatever the loss was built with (weights of
classes, label smoothing, an ignored index) stays in force.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from gainstage.errors import SubjectError
from gainstage.trace.call import choose_loss
from gainstage.trace.subject import Loss, Subject


def log_of_probabilities(p: torch.Tensor) -> torch.Tensor:
    """log p, with p no smaller than the smallest normal number: finite where a softmax has underflowed."""
    return p.clamp_min(torch.finfo(p.dtype).tiny).log()


def logit_of_probabilities(p: torch.Tensor) -> torch.Tensor:
    """log(p/(1 - p)), with p kept off 0 and 1 by what its type can tell from them."""
    limits = torch.finfo(p.dtype)
    p = p.clamp(limits.tiny, 1 - limits.eps)
    return p.log() - (-p).log1p()


def _unchanged(p: torch.Tensor) -> torch.Tensor:
    return p


_INVERSES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "softmax": log_of_probabilities,
    "log_softmax": _unchanged,  # log-softmax(log-softmax(z)) = log-softmax(z)
    "sigmoid": logit_of_probabilities,
}


def loss_without(subject: Subject, op: str) -> Loss | None:
    """The subject's loss (or the one that is chosen for it) of what the activation was applied to.

    Args:
        subject: Without ``forward=``, which hides its loss.
        op: The activation on the output.

    Returns:
        ``(outputs, targets) -> scalar``; None if the activation cannot be undone.
    """
    inverse = _INVERSES.get(op)
    if inverse is None or subject.forward is not None:
        return None

    def loss(outputs: Any, targets: Any) -> torch.Tensor:
        if not isinstance(outputs, torch.Tensor):
            raise SubjectError(
                f"fix: the model's output must be a tensor to undo its {op}, got {type(outputs).__name__}. "
                f"Remove the {op} in the model's code."
            )
        _, _, compute = choose_loss(subject, inverse(outputs), targets)
        return compute()

    own = subject.loss
    name = "loss" if own is None else getattr(own, "__name__", type(own).__name__)
    loss.__name__ = loss.__qualname__ = f"{name}_without_{op}"
    return loss
