"""What optimizer, steps and exchanged samples showed: immutable records, without torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal


@dataclass(frozen=True)
class OptimizerRecord:
    """The optimizer as handed in: its type, the learning rate of each group, and what it does not hold.

    Attributes:
        decayed: Names of the parameters in groups whose weight decay is not zero.
        decays: Those of these parameters' groups, in the same order.
        decoupled: Whether decay is a share of the weights, as AdamW's, and no part of the gradient.
        stepped: Whether it has made steps before.
    """

    type: str
    learning_rates: tuple[float, ...]
    weight_decays: tuple[float, ...] = ()
    missing: tuple[str, ...] = ()
    foreign: int = 0
    decayed: tuple[str, ...] = ()
    decays: tuple[float, ...] = ()
    decoupled: bool = False
    stepped: bool = False


@dataclass(frozen=True)
class RatioRecord:
    """How far a step moves a parameter: rms(update) / rms(weight), infinite for a weight that was all zero."""

    parameter: str
    ratio: float


@dataclass(frozen=True)
class StepRecord:
    """The first step that the optimizer would make, at its own learning rate, on the batch of the pass.

    Attributes:
        loss, loss_after: Of that batch, before the step and after it; NaN or infinite if that is what it was.
        zero_loss: Of outputs that are all zero, a network that knows nothing; None where there is none to be had.
        promise: -u·∇L / |L| of the update u: the share of the loss that the step takes away to first order.
        accumulation: What momentum makes of a step in the long run, as a factor: (1 - dampening) / (1 - momentum).
        update_ratio: Median over matrices and kernels that move of rms(update) / rms(weight).
        least, most: The smallest and the largest of these ratios, and whose they are.
        ratios: All of them, in the order of the parameters.
        stepped: Whether the optimizer has made steps before.
        scheduled: Whether a schedule sets its learning rate, which may be warming up.
        reason: Why there are no figures; empty where there are.
    """

    loss: float | None = None
    loss_after: float | None = None
    zero_loss: float | None = None
    promise: float | None = None
    accumulation: float = 1.0
    update_ratio: float | None = None
    least: RatioRecord | None = None
    most: RatioRecord | None = None
    ratios: tuple[RatioRecord, ...] = ()
    stepped: bool = False
    scheduled: bool = False
    reason: str = ""


@dataclass(frozen=True)
class VariantRecord:
    """How a trial ends with one thing changed.

    Attributes:
        change: ``lr``, all learning rates times a factor, or ``weight_decay``, likewise.
        factor: That factor.
        rate: The largest learning rate of all groups.
        end: Median loss of the last fifth of its steps; infinite if it left the finite numbers.
    """

    change: Literal["lr", "weight_decay"]
    factor: float
    rate: float
    end: float


@dataclass(frozen=True)
class TrialRecord:
    """The losses of a short run on a copy, one a step; it ends early at the first that is not finite.

    Attributes:
        spoilt: Where that was: the first tensor of the run's batches that holds what is not finite, or "".
        reason: Why it could not be made, or "".
        variants: The same run with one thing changed, where this one hardly lowered the loss.
    """

    steps: int
    losses: tuple[float, ...]
    spoilt: str = ""
    reason: str = ""
    variants: tuple[VariantRecord, ...] = ()

    @property
    def end(self) -> float:
        """The median loss of the last fifth of its steps; infinite if it left the finite numbers."""
        return end_of(self.losses)


@dataclass(frozen=True)
class MixingRecord:
    """What the outputs of samples owe to the other samples of their batch, in eval mode.

    Attributes:
        samples: How many were run.
        change: The largest change of an output when another sample is exchanged, over the standard deviation of the
            outputs over samples.
        reason: Why it was not measured, or "".
    """

    samples: int = 0
    change: float | None = None
    reason: str = ""


def end_of(losses: Sequence[float]) -> float:
    """The median loss of a run's last fifth; infinite if it left the finite numbers, or there is none."""
    return median(losses[-max(1, len(losses) // 5) :]) if losses and math.isfinite(losses[-1]) else math.inf
