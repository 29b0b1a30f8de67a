"""The loss of a network that knows nothing: what training has to come below."""

from __future__ import annotations

import math

import torch

from gainstage.errors import SubjectError
from gainstage.landscape.objective import Objective


def zero_output_loss(objective: Objective) -> float | None:
    """The loss of the first batch if all outputs were zero: equal odds, or a guess of zero.

    Args:
        objective: Whose loss it is. It costs one pass.

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
    try:
        outputs, loss_of = objective.outputs(objective.batches[0])
        if not isinstance(outputs, torch.Tensor):
            return None
        with torch.no_grad(), objective.explained():
            value = float(loss_of(torch.zeros_like(outputs)))
    except SubjectError:  # a loss that the model or the subject computes by itself, or that zero is not allowed in
        return None
    return value if math.isfinite(value) else None
