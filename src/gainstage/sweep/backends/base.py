"""What every backend does: take jobs, give outcomes, survive its workers. No backend touches the store.

A backend knows nothing of what it computes: any `Computes` and any `Numbered` jobs will do. `Work` and `Job` are those
of a sweep.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gainstage.sweep.cells import Cell, Row

Execute = Callable[..., Sequence[Row]]


class Numbered(Protocol):
    """A job, told from others by its number; can be pickled."""

    @property
    def id(self) -> int:
        """Its number."""
        ...


class Computes(Protocol):
    """What all jobs have in common; can be pickled."""

    def rows(self, job: Any) -> list[Any]:
        """What comes of a job."""
        ...


@dataclass(frozen=True)
class Work:
    """What all jobs of a sweep have in common.

    Attributes:
        execute: ``execute(spec, cells, mode=mode)`` returns a row for each cell, in their order. It must be
            importable by its name, for it is sent to other processes.
        spec: The specification; can be pickled.
    """

    execute: Execute
    spec: Any

    def rows(self, job: Job) -> list[Row]:
        """Computes a job.

        Raises:
            ValueError: if ``execute`` does not return just the rows that were asked for.
        """
        rows = list(self.execute(self.spec, job.cells, mode=job.mode))
        if [row.key for row in rows] != [cell.key for cell in job.cells]:
            raise ValueError(f"execute returned {len(rows)} rows that are not those of its {len(job.cells)} cells")
        return rows


@dataclass(frozen=True)
class Job:
    """A chunk to compute."""

    id: int
    cells: tuple[Cell, ...]
    mode: str


@dataclass(frozen=True)
class Outcome:
    """What became of a job: its rows, or why there are none.

    Attributes:
        id: The job's.
        rows: What `Computes.rows` returned; None if it failed.
        failure: Why, in one line; empty if it did not.
        begun: Whether it was begun at all; if not, the failure is not the job's.
    """

    id: int
    rows: list[Any] | None
    failure: str = ""
    begun: bool = True


class Backend(Protocol):
    """Computes jobs. The driver gives it no more than ``slots`` at a time, and closes it whatever happens."""

    @property
    def slots(self) -> int:
        """How many jobs it computes at a time."""
        ...

    def submit(self, job: Numbered) -> None:
        """Takes a job; returns at once."""
        ...

    def wait(self, seconds: float) -> list[Outcome]:
        """The outcomes that came in: at least one if one comes in time. A job that kills its worker is one."""
        ...

    def close(self) -> None:
        """Ends all workers; what they have not finished is lost."""
        ...


def attempt(work: Computes, job: Numbered) -> Outcome:
    """Computes a job; whatever it raises becomes a failure."""
    try:
        return Outcome(job.id, work.rows(job))
    except Exception as error:
        return Outcome(job.id, None, told(error))


def told(error: BaseException) -> str:
    """An exception in one line, with the place that raised it."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = "".join(f" ({frame.filename}:{frame.lineno})" for frame in last)
    return " ".join(f"{type(error).__name__}: {error}".split())[:500] + where
