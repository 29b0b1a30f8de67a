"""Chunks spread over processes of one thread each; this process is one of them and needs no start."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from gainstage.sweep.cells import Cell, Row
from gainstage.sweep.plans import Chunk, Plan
from gainstage.sweep.spec import Spec

Progress = Callable[[int], None]
Run = Callable[[Spec, Sequence[Cell], str, "Progress | None"], tuple[Row, ...]]

# Workers are plain commands, not multiprocessing's: the user's script is not run again in them.
_COMMAND = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from gainstage.sweep.engine.worker import main; main()"
)


def run_spread(spec: Spec, plan: Plan, run: Run, progress: Progress | None) -> tuple[Row, ...]:
    """The rows of all chunks of a plan.

    Args:
        spec: What they share.
        plan: Its ``workers`` less one are started.
        run: Computes cells in this process.
        progress: Called in this thread and in others, never in two at once.

    Returns:
        Rows in any order.

    Validity:
        A chunk whose worker dies is computed here, where what killed it will be seen.
    """
    # The largest first, so that the last ones to finish are short.
    waiting = deque(sorted(plan.chunks, key=lambda chunk: -chunk.seconds))
    desk = _Desk(waiting, progress)
    helpers = [_Helper(spec, desk) for _ in range(min(plan.workers, len(waiting)) - 1)]
    try:
        while (chunk := desk.take(patient=True)) is not None:
            desk.put(run(spec, chunk.cells, chunk.mode, desk.tell))
    finally:
        for helper in helpers:
            helper.stop()
    return tuple(desk.rows)


class _Desk:
    """Chunks to be taken and rows to be put, by several threads."""

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


class _Helper:
    """A worker process, and the thread that hands it chunks."""

    def __init__(self, spec: Spec, desk: _Desk) -> None:
        self._spec, self._desk = spec, desk
        self._process = subprocess.Popen(
            [sys.executable, "-c", _COMMAND], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        chunk: Chunk | None = None
        try:
            self._send(sys.path)
            self._receive()
            while (chunk := self._desk.take()) is not None:
                self._send((self._spec, chunk.cells, chunk.mode))
                rows = self._receive()
                chunk = None
                self._desk.tell(len(rows))
                self._desk.put(rows)
        except (OSError, EOFError, pickle.UnpicklingError):
            if chunk is not None:
                self._desk.give_back(chunk)

    def _send(self, content: object) -> None:
        assert self._process.stdin
        pickle.dump(content, self._process.stdin)
        self._process.stdin.flush()

    def _receive(self) -> Any:
        assert self._process.stdout
        return pickle.load(self._process.stdout)

    def stop(self) -> None:
        """Ends process and thread."""
        self._process.kill()
        self._process.wait()
        self._thread.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
