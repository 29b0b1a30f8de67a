"""The driver: hands chunks to a backend, records what comes back, and deals with what does not. Needs no torch."""

from __future__ import annotations

import time
from collections.abc import Sequence

from gainstage.sweep.backends import Backend, Job, Outcome
from gainstage.sweep.cells import Cell, Row
from gainstage.sweep.progress import Meter, OnProgress
from gainstage.sweep.store import Leased, Store

_PATIENCE = 1.0  # seconds: how soon an idle worker notices what others gave back
_PAUSE = 0.1


def drive(
    store: Store, backend: Backend, cells: Sequence[Cell], *, tries: int = 2, on_progress: OnProgress | None = None
) -> None:
    """Works until every cell of the store has a row, by this process or by others.

    A chunk that fails is tried again as it is; after ``tries`` times it is halved, so that the cell that spoils it
    is found, and a single cell is recorded as failed. The death of this process counts as no try.

    Args:
        store: Entered, with its plan laid.
        backend: Computes; is not closed here.
        cells: Those that the plan's positions mean.
        tries: How often a chunk may fail.
        on_progress: Is told now and then, and at the end.

    Raises:
        StoreError: if the store cannot be written any more; what was recorded is kept.
        SweepError: if the backend cannot go on.
    """
    meter = Meter(store.status, on_progress) if on_progress else None
    driver = _Driver(store, backend, cells, tries)
    while not driver.finished():
        driver.step()
        if meter:
            meter.tick()
    if meter:
        meter.tick(now=True)


class _Driver:
    def __init__(self, store: Store, backend: Backend, cells: Sequence[Cell], tries: int) -> None:
        self._store, self._backend, self._cells, self._tries = store, backend, cells, tries
        self._busy: dict[int, Leased] = {}
        self._outcomes: list[Outcome] = []

    def finished(self) -> bool:
        return not self._busy and not self._outcomes and self._store.finished()

    def step(self) -> None:
        """Refills the backend first, so that its workers do not wait for the disk."""
        came, self._outcomes = self._outcomes, []
        done = [(self._busy.pop(outcome.id), outcome) for outcome in came]
        for chunk in self._store.claim(self._backend.slots - len(self._busy)):
            self._busy[chunk.id] = chunk
            self._backend.submit(Job(chunk.id, self._cells_of(chunk), chunk.mode))
        self._settle(done)
        if self._busy:
            self._outcomes = self._backend.wait(_PATIENCE)
        elif not done:
            time.sleep(_PAUSE)  # what is left is leased to others

    def _settle(self, done: Sequence[tuple[Leased, Outcome]]) -> None:
        self._store.record([(chunk, outcome.rows) for chunk, outcome in done if outcome.rows is not None])
        for chunk, outcome in done:
            if outcome.rows is None:
                self._failed(chunk, outcome)

    def _failed(self, chunk: Leased, outcome: Outcome) -> None:
        if not outcome.begun or chunk.tries + 1 < self._tries:
            self._store.give_back(chunk, failed=outcome.begun)
        elif len(chunk.cells) > 1:
            self._store.halve(chunk)
        else:
            error = f"failed {chunk.tries + 1} times: {outcome.failure}"
            rows = [Row(cell.key, cell.values, error=error, mode=chunk.mode) for cell in self._cells_of(chunk)]
            self._store.record([(chunk, rows)])

    def _cells_of(self, chunk: Leased) -> tuple[Cell, ...]:
        return tuple(self._cells[position] for position in chunk.cells)
