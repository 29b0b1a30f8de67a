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
        maximizes: Whether it raises the loss.
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
    maximizes: bool = False


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
        constant_loss: Of the best of a few constant answers, as the mean of the targets; None where none is known.
        promise: -u·∇L / |L| of the update u: the share of the loss that the step takes away to first order.
        accumulation: What momentum makes of a step in the long run, as a factor: (1 - dampening) / (1 - momentum).
        update_ratio: Median over matrices and kernels that move of rms(update) / rms(weight).
        least, most: The smallest and the largest of these ratios, and whose they are.
        ratios: All of them, in the order of the parameters.
        stepped: Whether the optimizer has made steps before.
        scheduled: Whether a schedule sets its learning rate, which may be warming up.
        wild_update: Whether loss and gradient are finite, and the update is not.
        rounded_away: Of the values of half-precision weights that have a gradient, the share that the step leaves as
            they are, bit for bit; None without such weights.
        reason: Why there are no figures; empty where there are.
    """

    loss: float | None = None
    loss_after: float | None = None
    zero_loss: float | None = None
    constant_loss: float | None = None
    promise: float | None = None
    accumulation: float = 1.0
    update_ratio: float | None = None
    least: RatioRecord | None = None
    most: RatioRecord | None = None
    ratios: tuple[RatioRecord, ...] = ()
    stepped: bool = False
    scheduled: bool = False
    wild_update: bool = False
    rounded_away: float | None = None
    reason: str = ""


Change = Literal[
    "lr", "weight_decay", "dropout", "inputs", "targets", "weights", "parameters", "modes", "frozen", "memory"
]


@dataclass(frozen=True)
class VariantRecord:
    """How a trial ends with one thing changed.

    Attributes:
        change: ``lr``, all learning rates times a factor; ``weight_decay`` and ``dropout``, none of it; ``inputs`` and
            ``targets``, standardised; ``weights``, drawn anew; ``parameters``, all of them held by the optimizer;
            ``modes``, batch norms in training mode; ``frozen``, nothing frozen; ``memory``, recurrent layers that
            remember longer.
        factor: Of the rate, the decay or the dropout; 1 for all else.
        rate: The largest learning rate of all groups.
        end: Median loss of the last fifth of its steps, in units of the trial's own; infinite if it left the finite
            numbers.
        in_eval: The loss on the batches that are held out, as `EvaluationRecord.in_eval`; None where it was not asked.
    """

    change: Change
    factor: float
    rate: float
    end: float
    in_eval: float | None = None


@dataclass(frozen=True)
class EvaluationRecord:
    """The losses of a trained copy on the same batches in both modes, means over the batches.

    Attributes:
        batches: How many.
        unseen: Whether they were held out of the training.
        in_eval, in_train: With the model in eval mode, and in the modes that it was trained in.
        norms_in_eval: With batch norms alone in eval mode; None without any.
    """

    batches: int
    unseen: bool
    in_eval: float
    in_train: float
    norms_in_eval: float | None = None


@dataclass(frozen=True)
class ExchangeRecord:
    """What the right targets are worth to a trained copy: by how much others' targets would cost more, in eval mode.

    Attributes:
        trained: On batches that it was trained on; a mean over these, in units of the loss.
        unseen: On batches that were held out.
        noise: The standard deviation that ``unseen`` would have if targets belonged to no sample.
        lawful: Whether the inputs have more order in them than numbers that are drawn one by one.
        steps: After how many steps of training: more than the trial's, where those had shown nothing that holds.
    """

    trained: float
    unseen: float
    noise: float
    lawful: bool
    steps: int = 0


@dataclass(frozen=True)
class TrialRecord:
    """The losses of a short run on a copy, one a step; it ends early at the first that is not finite.

    Attributes:
        spoilt: Where that was: the first tensor of the run's batches that holds what is not finite, or "".
        singular: Where it broke down, the first batch whose loss is finite and whose gradient is not, before any step.
        reason: Why it could not be made, or "".
        variants: The same run with one thing changed, where this one hardly lowered the loss or that thing is doubtful.
        evaluation: Of the trained copy; None where it broke down or does not run in eval mode.
        exchange: Of the trained copy; None where no batch was held out, or targets are not each a sample's.
    """

    steps: int
    losses: tuple[float, ...]
    spoilt: str = ""
    singular: str = ""
    reason: str = ""
    variants: tuple[VariantRecord, ...] = ()
    evaluation: EvaluationRecord | None = None
    exchange: ExchangeRecord | None = None

    @property
    def end(self) -> float:
        """The median loss of the last fifth of its steps; infinite if it left the finite numbers."""
        return end_of(self.losses)

    def relief(self, change: Change) -> tuple[float, float] | None:
        """The loss of this trial and that of the one without what is doubtful, on batches held out if there are any.

        None where that was not run, or the losses are no measure: below zero, or those on the training data where
        dropout is left out, which serves other data.
        """
        for variant in self.variants:
            if variant.change == change:
                held_out = self.evaluation is not None and self.evaluation.unseen and variant.in_eval is not None
                ends = self.end, variant.end
                if self.evaluation is not None and held_out and variant.in_eval is not None:
                    ends = self.evaluation.in_eval, variant.in_eval
                # A run that broke down was held out from nothing.
                fair = held_out or change != "dropout" or (variant.in_eval is not None and math.isinf(self.end))
                return ends if fair and ends[0] > 0 and ends[1] >= 0 else None
        return None


@dataclass(frozen=True)
class ThroughTimeRecord:
    """How unevenly a recurrent layer's gradient is spread over the steps of its input.

    Attributes:
        module: Its path.
        type: ``RNN_TANH``, ``RNN_RELU``, ``LSTM`` or ``GRU``.
        steps: Of the sequences of the first batch.
        faintest: The rms gradient of the loss at the step that has least, over that at the step that has most.
    """

    module: str
    type: str
    steps: int
    faintest: float


@dataclass(frozen=True)
class MixingRecord:
    """What the outputs of samples owe to the other samples of their batch, in eval mode.

    Attributes:
        samples: How many were run.
        change: The largest change of an output when another sample is exchanged, over the standard deviation of the
            outputs over samples.
        spread: That standard deviation over the outputs' rms.
        first_alone: Whether outputs stay the same whatever stands behind the first step or row of an input.
        orderless: Whether tokens in another order have the same outputs, or the same in that order; None where the
            inputs are no tokens.
        reason: Why it was not measured, or "".
    """

    samples: int = 0
    change: float | None = None
    spread: float | None = None
    first_alone: bool = False
    orderless: bool | None = None
    reason: str = ""


def end_of(losses: Sequence[float]) -> float:
    """The median loss of a run's last fifth; infinite if it left the finite numbers, or there is none."""
    return median(losses[-max(1, len(losses) // 5) :]) if losses and math.isfinite(losses[-1]) else math.inf
