"""Losses on outputs that have been through an activation already: the same quantity, from probabilities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F


def nll_of_probabilities(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """-log p of the right class, from (samples, classes, ...) probabilities: cross-entropy of their logits."""
    return F.nll_loss(outputs.clamp_min(torch.finfo(outputs.dtype).tiny).log(), targets.long())


def nll_of_log_probabilities(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """-log p of the right class, from (samples, classes, ...) log-probabilities."""
    return F.nll_loss(outputs, targets.long())


def binary_nll_of_probabilities(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy from probabilities: BCE-with-logits of their logits."""
    return F.binary_cross_entropy(outputs, targets.to(outputs.dtype))


_LOSSES: dict[str, Callable[[Any, Any], torch.Tensor]] = {
    "softmax": nll_of_probabilities,
    "log_softmax": nll_of_log_probabilities,
    "sigmoid": binary_nll_of_probabilities,
}


def loss_on_activated(op: str) -> Callable[[Any, Any], torch.Tensor] | None:
    """The loss for outputs of this activation; None where the activation loses what a loss would need."""
    return _LOSSES.get(op)
