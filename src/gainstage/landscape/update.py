"""The step that an optimizer would make of a gradient, without making it."""

from __future__ import annotations

import copy

import torch

from gainstage.errors import GainstageError, InputError, SubjectError
from gainstage.landscape.objective import Objective
from gainstage.numerics import require_positive
from gainstage.seeding import preserved_rng


def proposed_update(objective: Objective, gradient: torch.Tensor, lr: float | None = None) -> torch.Tensor:
    """The change of the parameters that one step would make.

    Args:
        objective: Its copied optimizer is asked; parameters and the optimizer's state stay as they are.
        gradient: A vector over the parameters.
        lr: Of plain gradient descent, -lr·g; None: what the subject's own optimizer does, with its momentum, weight
            decay and preconditioner as they are now.

    Returns:
        A vector over the parameters; zero for those that the optimizer does not hold.

    Raises:
        InputError: if lr is not positive, or neither lr nor an optimizer was given.
        SubjectError: if the optimizer cannot step on a gradient alone, as L-BFGS.

    Example:
        >>> from torch import nn
        >>> from gainstage.trace import Subject
        >>> objective = Objective(Subject(nn.Linear(2, 1, bias=False), (torch.eye(2), torch.zeros(2, 1))))
        >>> proposed_update(objective, torch.tensor([1.0, -2.0]), lr=0.1)
        tensor([-0.1000,  0.2000])
    """
    if lr is not None:
        return -require_positive("landscape", "lr", lr, "Give a step size such as 0.1.") * gradient
    optimizer = objective.subject.optimizer
    if optimizer is None:
        raise InputError("landscape: lr must be given for a subject without an optimizer, got None. Pass lr=0.1, say.")
    before = [parameter.detach().clone() for parameter in objective.parameters]
    state = copy.deepcopy(optimizer.state_dict())
    try:
        # Loading brings the state to the parameters' type, where the objective has another than the subject.
        optimizer.load_state_dict(copy.deepcopy(state))
        for parameter, part in zip(objective.parameters, objective.split(gradient).values(), strict=True):
            parameter.grad = part.clone()
        with preserved_rng(0), torch.enable_grad():  # an optimizer that adds noise draws it from the user's generator
            optimizer.step()
        moved = [p.detach() - old for p, old in zip(objective.parameters, before, strict=True)]
        return objective.flat(moved)
    except GainstageError:
        raise
    except Exception as error:
        detail = " ".join(str(error).split())[:200]
        raise SubjectError(
            f"landscape: the optimizer must step on a gradient alone, got {type(error).__name__}: {detail} "
            f"(from {type(optimizer).__name__}). Pass lr=, or a subject with another optimizer."
        ) from error
    finally:
        optimizer.load_state_dict(state)
        with torch.no_grad():
            for parameter, old in zip(objective.parameters, before, strict=True):
                parameter.grad = None
                parameter.copy_(old)
