"""What a loss was given to aim at: immutable records, without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class LabelRecord:
    """Class labels or probabilities as a loss read them.

    Attributes:
        op: The loss's operation.
        count: Labels that count, without those that the loss ignores.
        classes: How many there are; None for a loss of probabilities, one for each output.
        low, high: The extremes of those; None without any.
        outside: How many name no class.
        improper: How many predictions of a loss of probabilities lie beyond 0 and 1, or are NaN: it takes none of them.
        given: Whether they are a tensor of the batch or a view of one, and were not computed.
        per_sample: Whether there is one label for each sample.
        mean_loss: The operation's loss over the labels that count, in nats: each weighs the same, whatever the weights
            and the reduction of the loss are; None where labels name no class, or where it is not finite.
        commonest_label: Share of the labels that name the commonest class; None for a loss of probabilities.
        commonest_prediction: Share of the predictions whose likeliest class is the one that is so most often.
        alignment: Σ_c |Σ_b d_bc| / Σ_bc |d_bc| of the gradients d = p - y at the logits, p the predicted
            probabilities and y the labels: 1 if all samples pull each output the same way; None without probabilities.
    """

    op: str
    count: int
    classes: int | None = None
    low: float | None = None
    high: float | None = None
    outside: int = 0
    improper: int = 0
    given: bool = True
    per_sample: bool = False
    mean_loss: float | None = None
    commonest_label: float | None = None
    commonest_prediction: float | None = None
    alignment: float | None = None

    @property
    def refused(self) -> str:
        """Why the loss cannot be computed at all, with the rule that tells of it; empty if it can."""
        if self.outside:
            return "labels name no class (DAT002)"
        return "the outputs are no probabilities" if self.improper else ""


@dataclass(frozen=True)
class AskedLoss:
    """What a loss without an operation of its own takes, found by asking it for the loss of made-up outputs.

    Attributes:
        takes: ``values``, which are the targets at best; ``probabilities``, ``logits`` or ``log-probabilities`` of ones
            among zeros or of classes; ``shares``, that overlap the targets, as of Dice; ``nothing``, where it squashes
            what it squashed already, and sure and wrong answers cost little.
        each: Whether every output is judged by itself, and not one class of several is to win.
        normalizes: Whether probabilities of twice the size have the same loss.
        beyond: How far targets lie outside of 0 and 1, where ``takes`` says that these are their range; else 0.
    """

    takes: Literal["values", "probabilities", "logits", "log-probabilities", "shares", "nothing"]
    each: bool = True
    normalizes: bool = False
    beyond: float = 0.0


@dataclass(frozen=True)
class PriorRecord:
    """What a loss with a prior on a code takes for the code, and what the code can earn.

    Attributes:
        price: Of one nat that the code of every sample carries, in units of the loss.
        gain: The loss of the best constant reconstruction less that of a perfect one.
    """

    price: float
    gain: float

    @property
    def nats(self) -> float:
        """How many nats a code can pay for at most: more costs more than a perfect reconstruction earns."""
        return self.gain / self.price


@dataclass(frozen=True)
class FurtherLabels:
    """The labels of one batch after the first.

    Attributes:
        samples: How many samples they are of.
        count: How many there are.
        same: How many are the one label that the first batch has.
        low, high: Their extremes.
    """

    samples: int
    count: int
    same: int
    low: float
    high: float


@dataclass(frozen=True)
class CrossingRecord:
    """Predictions that were spread against several targets each instead of being paired.

    Attributes:
        op: The operation that compared them.
        prediction, target: Their own shapes, aligned at the last dimension.
        result: The shape of the comparison.
    """

    op: str
    prediction: tuple[int, ...]
    target: tuple[int, ...]
    result: tuple[int, ...]

    @property
    def mutual(self) -> bool:
        """Whether targets were spread against predictions as well: each against all others."""
        return self.result != self.target


@dataclass(frozen=True)
class LeakRecord:
    """What outputs have seen of targets that are the inputs themselves, or the inputs one step on.

    Attributes:
        shift: By how many steps the targets are ahead of the inputs, 0 or 1.
        at: Whether the output at a place changes with the input there.
        ahead: Whether it changes with the next input.
    """

    shift: int
    at: bool
    ahead: bool

    @property
    def told(self) -> bool:
        """Whether an output depends on the input that is its own target, and sees no others to come."""
        return self.ahead if self.shift else self.at and not self.ahead
