"""The first step that the optimizer would make, measured on a copy without making it."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import median
from typing import Any

import torch

from gainstage.landscape.objective import Objective
from gainstage.landscape.training import gradients_kept
from gainstage.landscape.update import proposed_update
from gainstage.landscape.zero_output import constant_output_loss, zero_output_loss
from gainstage.trace.eager import eager
from gainstage.trace.recorder import Recording
from gainstage.trace.subject import Subject
from gainstage.trace.training_records import RatioRecord, StepRecord


def first_step(subject: Subject, seed: int = 0, recorded: Recording | None = None) -> StepRecord:
    """What one step of the subject's optimizer does to the loss of its first batch and to each parameter.

    It costs one forward pass, and a copy of model and optimizer; without a recording, a pass forward and back too.

    Args:
        subject: With an optimizer; stays as it is.
        seed: Of dropout, the same before and after the step.
        recorded: Of the subject, with gradients and under the same seed, whose gradient is the step's.

    Returns:
        `StepRecord`; where nothing can be measured, one with the reason.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return StepRecord(reason="a step inside a process group would wait for the other ranks")
    try:
        # A copy of a compiled model would be compiled anew, for seconds, to run once.
        with gradients_kept(subject), eager():
            return _measured(subject, seed, recorded)
    except Exception as error:  # An optimizer may fail in any way, and the rest of the check must not fail with it.
        return StepRecord(reason=" ".join(str(error).split())[:300] or type(error).__name__)


def _measured(subject: Subject, seed: int, recorded: Recording | None) -> StepRecord:
    objective = Objective(subject, seed=seed)
    facts = _facts(objective)
    batch = objective.batches[0]
    if recorded is None or not recorded.gradients:
        # Without any, this says why.
        loss, gradient = objective.gradient(batch)
    else:
        loss, gradient = recorded.trace.loss, objective.flat([recorded.gradients[name] for name in objective.names])
    fault = _fault(loss, float(gradient.norm()))
    if fault:
        return replace(facts, loss=loss, reason=fault)
    update = proposed_update(objective, gradient)
    if not bool(update.isfinite().all()):
        # As of Adam in float16, where ε and squares of gradients are zero: no learning rate is to blame.
        return replace(facts, loss=loss, wild_update=True, reason="the optimizer's update is not finite")
    with objective.moved(update, 1.0):
        after = objective.loss(batch)
    if recorded is not None and after == loss and bool(update.any()):
        # A loss of the original's parameters alone is not the copy's: its gradient is asked for to have that said.
        objective.gradient(batch)
    ratios = _ratios(objective, update)
    outputs = None if recorded is None else recorded.outputs
    return replace(
        facts, loss=loss, loss_after=after,
        zero_loss=zero_output_loss(objective, outputs), constant_loss=constant_output_loss(objective, outputs),
        promise=-float(torch.dot(gradient, update)) / abs(loss) if loss else None,
        update_ratio=median(entry.ratio for entry in ratios) if ratios else None,
        least=min(ratios, key=lambda entry: entry.ratio, default=None),
        most=max(ratios, key=lambda entry: entry.ratio, default=None),
        ratios=tuple(ratios), rounded_away=_rounded_away(objective, gradient, update),
    )  # fmt: skip


def _facts(objective: Objective) -> StepRecord:
    """What the optimizer itself tells."""
    optimizer = objective.subject.optimizer
    groups: list[dict[str, Any]] = [] if optimizer is None else optimizer.param_groups
    return StepRecord(
        accumulation=max((_accumulation(group) for group in groups), default=1.0),
        stepped=optimizer is not None and bool(optimizer.state),
        # Every scheduler of torch writes down the rate that it began with.
        scheduled=any("initial_lr" in group for group in groups),
    )


def _accumulation(group: dict[str, Any]) -> float:
    momentum, dampening = float(group.get("momentum") or 0.0), float(group.get("dampening") or 0.0)
    return (1 - dampening) / (1 - momentum) if 0 < momentum < 1 else 1.0


def _fault(loss: float, length: float) -> str:
    if not math.isfinite(loss):
        return f"the loss is {loss} before any step"
    if not math.isfinite(length):
        return "the gradient is not finite"
    return "the gradient is zero: no learning rate moves anything" if length == 0 else ""


def _ratios(objective: Objective, update: torch.Tensor) -> list[RatioRecord]:
    """Of matrices and kernels, or of all parameters where there are none of them; of those that move."""
    weights, moves = objective.split(objective.point()), objective.split(update)
    # Vectors are left out: biases start at zero, and scales of norms at one, whatever the level is.
    names = [name for name, weight in weights.items() if weight.dim() >= 2] or list(weights)
    pairs = ((name, _rms(moves[name]), _rms(weights[name])) for name in names)
    return [RatioRecord(name, move / weight if weight else math.inf) for name, move, weight in pairs if move > 0]


def _rounded_away(objective: Objective, gradient: torch.Tensor, update: torch.Tensor) -> float | None:
    """The share of half-precision values with a gradient that the step, made in that precision, does not change."""
    groups = objective.subject.optimizer.param_groups if objective.subject.optimizer is not None else []
    held = {id(parameter) for group in groups for parameter in group["params"]}
    slopes, moves = objective.split(gradient), objective.split(update)
    wanted = lost = 0
    for name, parameter in zip(objective.names, objective.parameters, strict=True):
        if id(parameter) in held and parameter.dtype in (torch.bfloat16, torch.float16):
            sloping = slopes[name] != 0
            wanted += int(sloping.sum())
            lost += int((sloping & (moves[name] == 0)).sum())
    return lost / wanted if wanted else None


def _rms(tensor: torch.Tensor) -> float:
    return float(tensor.double().square().mean().sqrt())
