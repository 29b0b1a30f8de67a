"""In this process, one job after the other: nothing to start, but a job that kills its process kills the run."""

from __future__ import annotations

from collections import deque

from gainstage.sweep.backends.base import Computes, Numbered, Outcome, attempt


class Inline:
    """Computes a job when its outcome is waited for.

    Args:
        work: What the jobs have in common.
    """

    slots = 1

    def __init__(self, work: Computes) -> None:
        self._work = work
        self._jobs: deque[Numbered] = deque()

    def submit(self, job: Numbered) -> None:
        """Takes a job."""
        self._jobs.append(job)

    def wait(self, seconds: float) -> list[Outcome]:
        """The outcome of the oldest job, however long it takes."""
        del seconds
        return [attempt(self._work, self._jobs.popleft())] if self._jobs else []

    def close(self) -> None:
        """Forgets what was not begun."""
        self._jobs.clear()
