"""Chunks spread over this process, which needs no start, and workers of the local backend beside it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from gainstage.errors import SweepError
from gainstage.sweep.backends import Job, Local, Work
from gainstage.sweep.backends.base import Execute
from gainstage.sweep.cells import Row
from gainstage.sweep.plans import Chunk, Plan
from gainstage.sweep.spec import Spec

Progress = Callable[[int], None]

_PATIENCE = 0.2  # seconds until workers are ended that are no longer wanted


def run_spread(spec: Spec, plan: Plan, execute: Execute, progress: Progress | None) -> tuple[Row, ...]:
    """The rows of all chunks of a plan.

    Args:
        spec: What they share.
        plan: Its ``workers`` less one are started.
        execute: ``execute(spec, cells, mode=mode)``, here also with ``progress``; importable by its name.
        progress: Called in this thread and in another, never in both at once.

    Returns:
        Rows in any order.

    Validity:
        A chunk that fails in a worker is computed here, where what failed will be seen.
    """
    # The largest first, so that the last ones to finish are short.
    waiting = deque(sorted(plan.chunks, key=lambda chunk: -chunk.seconds))
    desk = _Desk(waiting, progress)
    workers = min(plan.workers, len(waiting)) - 1
    with _Helpers(desk, Local(Work(execute, spec), workers) if workers > 0 else None):
        while (chunk := desk.take(patient=True)) is not None:
            desk.put(execute(spec, chunk.cells, mode=chunk.mode, progress=desk.tell))
    return tuple(desk.rows)


class _Desk:
    """Chunks to be taken and rows to be put, by two threads."""

    def __init__(self, waiting: deque[Chunk], progress: Progress | None) -> None:
        self._waiting, self._progress, self._out = waiting, progress, 0
        self._changed = threading.Condition()
        self.rows: list[Row] = []

    def take(self, *, patient: bool = False) -> Chunk | None:
        """A chunk; None if there is none. A patient taker waits for those that others may give back."""
        with self._changed:
            while patient and not self._waiting and self._out:
                self._changed.wait()
            if not self._waiting:
                return None
            self._out += 1
            return self._waiting.popleft()

    def put(self, rows: Sequence[Row]) -> None:
        """What came of a chunk that was taken."""
        with self._changed:
            self._out -= 1
            self.rows.extend(rows)
            self._changed.notify_all()

    def give_back(self, chunk: Chunk) -> None:
        """A chunk that was taken in vain."""
        with self._changed:
            self._out -= 1
            self._waiting.appendleft(chunk)
            self._changed.notify_all()

    def tell(self, count: int) -> None:
        """Progress, one call at a time."""
        with self._changed:
            if self._progress:
                self._progress(count)


class _Helpers:
    """Worker processes, and the thread that hands them chunks while this one computes."""

    def __init__(self, desk: _Desk, backend: Local | None) -> None:
        self._desk, self._backend = desk, backend
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> None:
        if self._backend:
            self._thread.start()

    def __exit__(self, *_error: object) -> None:
        if self._backend:
            self._over.set()
            self._thread.join()
            self._backend.close()

    def _serve(self) -> None:
        busy: dict[int, Chunk] = {}
        try:
            with suppress(SweepError):  # workers that do not start: all is computed here
                self._hand_out(busy)
        finally:
            for chunk in busy.values():
                self._desk.give_back(chunk)

    def _hand_out(self, busy: dict[int, Chunk]) -> None:
        assert self._backend
        slots, number = self._backend.slots, 0
        while not self._over.is_set():
            while len(busy) < slots and (chunk := self._desk.take()) is not None:
                number += 1
                busy[number] = chunk
                self._backend.submit(Job(number, chunk.cells, chunk.mode))
            if not busy:
                return
            for outcome in self._backend.wait(_PATIENCE):
                chunk = busy.pop(outcome.id)
                if outcome.rows is None:
                    slots -= 1  # what killed one worker may kill the next
                    self._desk.give_back(chunk)
                else:
                    self._desk.tell(len(outcome.rows))
                    self._desk.put(outcome.rows)
