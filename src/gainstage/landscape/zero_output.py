"""The loss of a network that knows nothing: what training has to come below."""

from __future__ import annotations

import math

import torch

from gainstage.errors import SubjectError
from gainstage.landscape.objective import Objective
from gainstage.trace.call import choose_loss, scalar_loss, unpack


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
    batch, subject = objective.batches[0], objective.subject
    if subject.forward is not None:
        return None
    try:
        outputs = objective.outputs(batch)[0] if outputs is None else outputs
        if not isinstance(outputs, torch.Tensor):
            return None
        with torch.no_grad(), objective.explained():
            _, _, compute = choose_loss(subject, torch.zeros_like(outputs), unpack(batch).targets)
            value = float(scalar_loss(compute(), "loss"))
    except SubjectError:  # a loss that the model or the subject computes by itself, or that zero is not allowed in
        return None
    return value if math.isfinite(value) else None
