"""The loss of a network that knows nothing: what training has to come below."""

from __future__ import annotations

import math

import torch

from gainstage.errors import SubjectError
from gainstage.landscape.objective import Objective
from gainstage.trace.call import choose_loss, scalar_loss, unpack

MANY = 8


def zero_output_loss(objective: Objective, outputs: torch.Tensor | None = None) -> float | None:
    """The loss of the first batch if all outputs were zero: equal odds, or a guess of zero.

    Args:
        objective: Whose loss it is.
        outputs: What the model returned for that batch, where it is known; else it costs one pass.

    Returns:
        The loss; None where the subject or the model computes it by itself, the outputs are no tensor, or it is not
        finite there.

    Validity:
        A yardstick for logits and for standardized targets. Where zero is a good answer, as for sparse targets, it is
        low, and where zero is none, as for probabilities, it is high.

    Example:
        >>> from gainstage.trace import Subject
        >>> model = torch.nn.Linear(2, 10)
        >>> round(zero_output_loss(Objective(Subject(model, (torch.ones(4, 2), torch.arange(4))))), 4)  # log 10
        2.3026
    """
    outputs = _outputs(objective, outputs)
    return None if outputs is None else _loss_of(objective, torch.zeros_like(outputs))


def constant_output_loss(objective: Objective, outputs: torch.Tensor | None = None) -> float | None:
    """The loss of the first batch if all samples were given one answer: the least of a few that are likely.

    They are zero and, of 8 samples or more, the mean of the model's own outputs, and that of the targets where these
    are numbers. Outputs that
    owe nothing to the targets are no better than their mean, where the loss is convex in them (Jensen).

    Args:
        objective: Whose loss it is.
        outputs: What the model returned for that batch, where it is known; else it costs one pass.

    Returns:
        The loss; None where none of the answers has one above zero: zero is no answer where log-probabilities are
        asked for.
    """
    outputs = _outputs(objective, outputs)
    if outputs is None or outputs.ndim == 0:
        return None
    answers = [torch.zeros_like(outputs)]
    targets = unpack(objective.batches[0]).targets
    # The mean of one sample is what the network says of it, that of a few nearly so.
    many = len(outputs) >= MANY
    if many:
        answers.append(outputs.detach().mean(0, keepdim=True).expand_as(outputs))
    if (
        many
        and isinstance(targets, torch.Tensor)
        and targets.is_floating_point()
        and targets.numel() == outputs.numel()
    ):
        answers.append(targets.detach().mean(0, keepdim=True).expand_as(targets).reshape(outputs.shape).to(outputs))
    losses = [_loss_of(objective, answer) for answer in answers]
    return min((loss for loss in losses if loss is not None and loss > 0), default=None)


def _outputs(objective: Objective, outputs: torch.Tensor | None) -> torch.Tensor | None:
    if objective.subject.forward is not None:
        return None
    try:
        outputs = objective.outputs(objective.batches[0])[0] if outputs is None else outputs
    except SubjectError:  # a loss that the model computes by itself
        return None
    return outputs if isinstance(outputs, torch.Tensor) and outputs.is_floating_point() else None


def _loss_of(objective: Objective, outputs: torch.Tensor) -> float | None:
    """The loss if these were the outputs; None where it is not finite, or does not take them."""
    try:
        with torch.no_grad(), objective.explained():
            _, _, compute = choose_loss(objective.subject, outputs, unpack(objective.batches[0]).targets)
            value = float(scalar_loss(compute(), "loss"))
    except SubjectError:
        return None
    return value if math.isfinite(value) else None
