"""Where training breaks down, found by training: a ramp of the rate, then short runs at constant ones.

    ramp        the rate grows at every step until the loss has left what it was: a first guess of the edge
    short runs  at constant rates; each halves the bracket of the edge

A run holds if its last losses lie below those of a network that knows nothing. Every run begins at the subject as it
is, sees the same batches in the same order, and ends early when its loss has left all reason.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

from gainstage.errors import SubjectError
from gainstage.landscape.learning_rate.records import ShortRun
from gainstage.landscape.training import Curve, trained
from gainstage.trace.copies import copied
from gainstage.trace.subject import Subject

# Steps of a short run, and how many of its last ones are judged, by their median.
STEPS, LAST = 14, 4
# By what the rate grows at each step of the ramp, its steps at most, and what its loss may exceed that of its start by.
_GROWTH, _RAMP, _LOST = 2.0, 18, 0.2
# A run has broken down where its loss exceeds the start's by so many times its size.
_BROKEN = 4.0
# Where no run has come below this share of the reference in so few steps, only a loss above it tells, by so much.
_SLOW, _SLACK = 0.9, 0.005
# A run on its way down from a high start rises by less than this share of it, and falls by more.
_DETOUR = 0.05
# How far a bracket is opened at a time, and how narrow is narrow enough, in decades.
_REACH, _NARROW = 0.4, 0.15


@dataclass
class Search:
    """Short runs of a subject, and what they said so far.

    Args:
        subject: With its optimizer; stays as it is.
        highest: The loss before any step, of the batch where it is highest.
        reference: The loss of a network that knows nothing, or of the start if that is lower.
        seed: Of the batches' order and of dropout.
        largest: Rate, that the parameters' type can hold.

    Attributes:
        runs: In the order in which they were made.
        ramp: Rates and losses of the ramp.
        steps: Forward and backward passes so far.
    """

    subject: Subject
    highest: float
    reference: float
    seed: int = 0
    largest: float = math.inf
    runs: list[ShortRun] = field(default_factory=list[ShortRun])
    ramp: tuple[tuple[float, ...], Curve] = ((), ())
    steps: int = 0

    def ramped(self, first: float) -> float:
        """The rate at which a ramp from ``first`` lost its way; the last one if it did not."""
        rates = tuple(rate for rate in (first * _GROWTH**step for step in range(_RAMP)) if rate <= self.largest)
        losses = self._losses(lambda step: rates[step], len(rates), [])
        self.ramp = rates[: len(losses)], losses
        level = self.highest + _LOST * abs(self.highest)
        # Before the lowest loss no way was lost: there a batch was only harder than others.
        lowest = losses.index(min(losses))
        # The loss of a step shows what the rate of the step before it did.
        lost = next((step for step in range(lowest + 1, len(losses)) if not losses[step] <= level), len(losses))
        return rates[max(0, lost - 1)]

    def edge(self, guess: float, budget: int) -> tuple[float, float]:
        """The largest rate that held below all that did not, and the smallest that did not; 0 and inf without one.

        Args:
            guess: The first rate.
            budget: Steps that may be spent; a run is begun only if there are enough for all of it.

        Raises:
            SubjectError: if every run ended in an exception.
        """
        held, lost, rate, until = 0.0, math.inf, guess, self.steps + budget
        failures: list[SubjectError] = []
        while self.steps + STEPS <= until and rate <= self.largest:
            if held and lost < math.inf and math.log10(lost / held) < _NARROW:
                break
            self._run(rate, failures)
            lost = min((run.lr for run in self.runs if not run.held), default=math.inf)
            held = max((run.lr for run in self.runs if run.held and run.lr < lost), default=0.0)
            rate = math.sqrt(held * lost) if held and lost < math.inf else rate * 10 ** (_REACH if held else -_REACH)
        if failures and len(failures) == len(self.runs):
            raise failures[-1]
        return held, lost

    def _run(self, lr: float, failures: list[SubjectError]) -> None:
        losses = self._losses(lambda _step: lr, STEPS, failures)
        whole = len(losses) == STEPS and math.isfinite(losses[-1])
        last = statistics.median(losses[-LAST:]) if whole else math.inf
        self.runs.append(ShortRun(lr, tuple(losses), last, self._held(losses, last)))

    def _held(self, losses: Curve, last: float) -> bool:
        size = abs(self.reference)
        slow = min([last, *(run.last for run in self.runs)]) > self.reference - (1 - _SLOW) * size
        if last < self.reference + (_SLACK * size if slow else 0.0):
            return True
        # From a start far above, a rate that is too low has not got there yet: on its way down, without a detour.
        level = self.highest + _DETOUR * abs(self.highest)
        return max(losses) <= level and last < statistics.median(losses[:LAST]) - _DETOUR * abs(self.highest)

    def _losses(self, rate: Callable[[int], float], steps: int, failures: list[SubjectError]) -> Curve:
        above = self.highest + _BROKEN * (abs(self.highest) or 1.0)
        # Where a rate is too large a model or loss may raise: the run broke down, but only if others do not.
        losses = trained(
            copied(self.subject), steps, self.seed, lambda _: None, above=above, rate=rate, failed=failures.append
        )
        self.steps += len(losses)
        return losses
