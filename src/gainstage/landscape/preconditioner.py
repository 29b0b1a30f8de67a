"""What Adam divides the gradient by: the metric in which its steps are plain ones.

Adam moves by -lr P⁻¹ m with P = diag(√v̂ + ε). In the coordinates P^½ w that is gradient descent, and the curvature
that it meets is that of P^-½ H P^-½, which has the eigenvalues of P⁻¹ H and is symmetric.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from gainstage.errors import InputError
from gainstage.landscape.objective import Objective

_BETA2, _EPS = 0.999, 1e-8


@dataclass(frozen=True, eq=False)
class Preconditioner:
    """A positive diagonal P, by its inverse root.

    Attributes:
        inverse_root: P^-½, of shape (parameters,).
        source: Where P comes from, in words.
    """

    inverse_root: torch.Tensor
    source: str


def adam_preconditioner(objective: Objective, gradient: torch.Tensor) -> Preconditioner:
    """P = diag(√v̂ + ε) of the subject's Adam or AdamW, with v̂ = v / (1 - β₂ᵗ).

    A parameter that the optimizer has not yet stepped, or any if there is no such optimizer, gets what it would have
    after the first step on ``gradient``: v̂ = g², so P = diag(|g| + ε).

    Args:
        objective: Whose subject's optimizer is read; without one, ε is 1e-8.
        gradient: At this point, of shape (parameters,).

    Validity:
        After one step P follows a single gradient: coordinates with a small one get a large curvature, up to 1/ε times
        the Hessian's. The bias correction of Adam's first moment, a factor 1/(1 - β₁ᵗ) on the step, is left out, as
        after some twenty steps it is gone.

    References:
        Cohen et al. 2022, Adaptive gradient methods at the edge of stability.
    """
    groups = _adam_groups(objective.subject.optimizer)
    first = objective.split(gradient.abs())
    roots: list[torch.Tensor] = []
    stepped: set[int] = set()
    for name, parameter in zip(objective.names, objective.parameters, strict=True):
        group, state = groups.get(parameter, ({}, {}))
        root = _root(group, state)
        if root is not None:
            stepped.add(int(state["step"]))
        roots.append((first[name] if root is None else root.to(parameter)) + float(group.get("eps", _EPS)))
    source = "Adam after its first step on this gradient"
    if stepped:
        source = f"{type(objective.subject.optimizer).__name__}'s state after {max(stepped)} steps"
    return Preconditioner(objective.flat(roots).rsqrt(), source)


def diagonal_preconditioner(objective: Objective, diagonal: torch.Tensor) -> Preconditioner:
    """P as given.

    Raises:
        InputError: if it is not a positive, finite vector over the parameters.
    """
    if tuple(diagonal.shape) != (objective.size,):
        raise InputError(
            f"curvature: preconditioner must be a vector of {objective.size} numbers, one for each parameter, got "
            f"shape {tuple(diagonal.shape)}. Flatten it in the order of the model's trainable parameters."
        )
    lowest, highest = float(diagonal.min()), float(diagonal.max())
    if not (lowest > 0 and math.isfinite(highest)):
        raise InputError(
            "curvature: preconditioner must be positive and finite, got "
            f"{lowest if not lowest > 0 else highest:g}. Add the optimizer's epsilon to the root."
        )
    return Preconditioner(diagonal.to(objective.point()).rsqrt(), "a diagonal that was passed")


def _adam_groups(optimizer: torch.optim.Optimizer | None) -> dict[Any, tuple[dict[str, Any], dict[str, Any]]]:
    if not isinstance(optimizer, (torch.optim.Adam, torch.optim.AdamW)):
        return {}
    return {
        parameter: (group, dict(optimizer.state.get(parameter, {})))
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


def _root(group: dict[str, Any], state: dict[str, Any]) -> torch.Tensor | None:
    second = state.get("max_exp_avg_sq" if group.get("amsgrad") else "exp_avg_sq")
    if second is None or float(state.get("step", 0)) < 1:
        return None
    beta2 = float(group.get("betas", (0.9, _BETA2))[1])
    return (second / (1 - beta2 ** float(state["step"]))).sqrt()
