"""Where training breaks down, found by training: a ramp of the rate, then short runs at constant ones.

    probe at rate 1  ->  the first update, and with the gradient what it promises
    ramp             ->  the rate doubles at every step until the loss leaves what it was: a first bracket
    short runs       ->  at constant rates; each halves the bracket of the edge

A run holds if its last losses lie below those of a network that knows nothing. Every run begins at the subject as it
is, sees the same batches in the same order, and ends early when its loss has left all reason.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from gainstage.landscape.learning_rate.records import ShortRun
from gainstage.landscape.training import Curve, trained
from gainstage.trace.copies import copied
from gainstage.trace.subject import Subject

# Steps of a short run, and how many of its last ones are judged by their median.
STEPS, LAST = 14, 4
# What the first update of the ramp promises, as a share of the loss; by what its rate grows; steps at most.
_PROMISE, _GROWTH, _RAMP = 0.02, 2.0, 18
# A run that never got below this share of the reference says nothing by being above it; below that of it does.
_SLOW, _SLACK = 0.9, 1.005
# How far a bracket is opened before it is halved, in decades, and how narrow is narrow enough.
_REACH, _NARROW = 0.4, 0.15
# By what the ramp's loss may exceed that of its beginning.
_LOST = 1.2


@dataclass
class Search:
    """Short runs of a subject, and what they said so far.

    Args:
        subject: With its optimizer; stays as it is.
        reference: The loss of a network that knows nothing.
        above: A run ends when its loss exceeds this.
        seed: Of the batches' order and of dropout.

    Attributes:
        runs: In the order in which they were made.
        ramp: Rates and losses of the ramp.
        steps: Forward and backward passes so far.
    """

    subject: Subject
    reference: float
    above: float
    seed: int = 0
    runs: list[ShortRun] = field(default_factory=list[ShortRun])
    ramp: tuple[tuple[float, ...], Curve] = ((), ())
    steps: int = 0

    def ramped(self, start: float) -> float:
        """The rate at which a ramp from ``start`` lost its way; the last one if it did not."""
        rates = tuple(start * _GROWTH**step for step in range(_RAMP))
        losses = self._losses(lambda step: rates[step], _RAMP)
        self.ramp = rates[: len(losses)], losses
        level = _LOST * max(self.reference, losses[0])
        # The loss of a step shows what the rate of the step before it did; one batch alone may be a hard one.
        lost = next((step for step in range(1, len(losses)) if not losses[step] <= level), len(losses))
        return rates[max(0, lost - 1)]

    def edge(self, guess: float, budget: int) -> tuple[float, float]:
        """The largest rate that held and the smallest that did not; 0 or inf where none was tried.

        Args:
            guess: Where to begin.
            budget: Steps that may be spent; a run is begun if there are enough for it.
        """
        held, lost, rate = 0.0, math.inf, guess
        until = self.steps + budget
        while self.steps + STEPS <= until and not (held and lost < math.inf and math.log10(lost / held) < _NARROW):
            held, lost = (max(held, rate), lost) if self.holds(rate) else (held, min(lost, rate))
            if held >= lost:  # a lucky run above one that failed: the lower one counts
                held = max((run.lr for run in self.runs if run.held and run.lr < lost), default=0.0)
            rate = math.sqrt(held * lost) if held and lost < math.inf else rate * 10 ** (_REACH if held else -_REACH)
        return held, lost

    def holds(self, lr: float) -> bool:
        """Whether a short run at this rate ends below the reference."""
        losses = self._losses(lambda _step: lr, STEPS)
        last = statistics.median(losses[-LAST:]) if len(losses) == STEPS and math.isfinite(losses[-1]) else math.inf
        slow = min([last, *(run.last for run in self.runs)]) > _SLOW * self.reference
        held = last < self.reference * (_SLACK if slow else 1.0)
        self.runs.append(ShortRun(lr, tuple(losses), last, held))
        return held

    def _losses(self, rate: Callable[[int], float], steps: int) -> Curve:
        above = self.above
        losses = trained(copied(self.subject), steps, self.seed, lambda _: None, above=above, rate=rate)
        self.steps += len(losses)
        return losses


def first_update(subject: Subject, seed: int) -> torch.Tensor:
    """What one step on the first batch at rate 1 subtracts from the trainable parameters, as one vector."""
    copy = copied(subject.replace(batches=[subject.batches.first()]))
    before = [parameter.detach().clone() for parameter in _trained(copy)]
    trained(copy, 1, seed, lambda _: None, rate=lambda _step: 1.0)
    pairs = zip(before, _trained(copy), strict=True)
    return torch.cat([(old - new.detach()).reshape(-1) for old, new in pairs])


def promising(loss: float, gradient: torch.Tensor, update: torch.Tensor) -> float:
    """The rate at which the first update promises a small share of the loss; nan if it promises nothing."""
    promise = float(torch.dot(gradient, update))
    return _PROMISE * abs(loss) / promise if promise > 0 and math.isfinite(promise) else math.nan


def _trained(subject: Subject) -> list[torch.nn.Parameter]:
    return [parameter for parameter in subject.model.parameters() if parameter.requires_grad]
