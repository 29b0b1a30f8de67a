"""The learning rate at which a step along the sharpest direction overshoots for good, by optimizer."""

from __future__ import annotations

import math

from gainstage.errors import InputError


def stable_lr(sharpness: float, *, momentum: float = 0.0) -> float:
    """The largest stable learning rate of SGD on a quadratic: 2 (1 + momentum) / λ_max.

    Args:
        sharpness: The Hessian's largest eigenvalue λ_max, in units of loss per squared weight.
        momentum: The heavy ball's, without dampening or Nesterov's step.

    Returns:
        The learning rate; infinity if no direction bends upwards.

    Raises:
        InputError: if the momentum is not in [0, 1).

    Validity:
        Exact on a quadratic and for full batches; a network's curvature follows the steps (progressive sharpening).

    Example:
        >>> stable_lr(4.0), stable_lr(4.0, momentum=0.9)
        (0.5, 0.95)

    References:
        Polyak 1964; Cohen et al. 2021, Gradient descent on neural networks typically occurs at the edge of stability.
    """
    _require_share("momentum", momentum)
    return 2 * (1 + momentum) / sharpness if sharpness > 0 else math.nan if math.isnan(sharpness) else math.inf


def adam_stable_lr(sharpness: float, *, beta1: float = 0.9) -> float:
    """The largest stable learning rate of Adam with a settled v: (2 + 2 β₁) / ((1 - β₁) λ), 38 / λ for β₁ = 0.9.

    Args:
        sharpness: The largest eigenvalue λ of the preconditioned Hessian P^-½ H P^-½, P = diag(√v̂ + ε).
        beta1: Decay of the first moment.

    Returns:
        The learning rate; infinity if no direction bends upwards.

    Raises:
        InputError: if beta1 is not in [0, 1).

    Validity:
        For a P that changes slowly, which it does not in the first steps.

    Example:
        >>> round(adam_stable_lr(38.0), 9)
        1.0

    References:
        Cohen et al. 2022, Adaptive gradient methods at the edge of stability.
    """
    _require_share("beta1", beta1)
    return stable_lr(sharpness, momentum=beta1) / (1 - beta1)


def _require_share(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise InputError(f"stability: {name} must be at least 0 and below 1, got {value}. 0.9 is usual.")
