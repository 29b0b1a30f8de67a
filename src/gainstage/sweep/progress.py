"""How far a sweep is, and when it will be done."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from gainstage.sweep.store import Status


@dataclass(frozen=True)
class Progress:
    """A moment of a run.

    Attributes:
        status: Of the store, with what other processes have done.
        seconds: Since this run began.
        rate: Cells a second in this run; 0 before the first is done.
    """

    status: Status
    seconds: float
    rate: float

    @property
    def eta(self) -> float | None:
        """Seconds that remain at this rate; None before it is known."""
        return (self.status.cells - self.status.done) / self.rate if self.rate else None

    @property
    def diverged_share(self) -> float:
        """The share of diverged cells among those done."""
        return self.status.diverged / self.status.done if self.status.done else 0.0


OnProgress = Callable[[Progress], None]


class Meter:
    """Reports now and then, and so seldom that asking the ledger takes one percent of the time at the most.

    Args:
        status: Asks how far the sweep is.
        report: Is told.
        every: Seconds between two reports, at the least.
    """

    def __init__(self, status: Callable[[], Status], report: OnProgress, every: float = 0.5) -> None:
        self._status, self._report, self._every = status, report, every
        self._start = self._last = time.perf_counter()
        self._before = status().done

    def tick(self, *, now: bool = False) -> None:
        """Reports if it is time, or now."""
        moment = time.perf_counter()
        if moment - self._last < self._every and not now:
            return
        status = self._status()
        self._last = time.perf_counter()
        self._every = max(self._every, 100 * (self._last - moment))
        seconds = self._last - self._start
        self._report(Progress(status, seconds, (status.done - self._before) / seconds))
