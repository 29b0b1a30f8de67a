"""`plan` and `execute`: cells in, rows out, by whatever is fastest for them here."""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
from collections.abc import Callable, Sequence

import torch
from torch import nn

from gainstage.errors import UnknownNameError
from gainstage.sweep.cells import Cell, Row
from gainstage.sweep.data import loaded
from gainstage.sweep.engine import looped, vectorised
from gainstage.sweep.engine.calibration import chosen, grouped, kind_of, one_thread
from gainstage.sweep.engine.evaluation import require_measurable
from gainstage.sweep.engine.initial import built
from gainstage.sweep.engine.looped import run_looped
from gainstage.sweep.engine.processes import run_spread
from gainstage.sweep.engine.proof import Refusal
from gainstage.sweep.engine.watching import failed
from gainstage.sweep.plans import Chunk, Plan
from gainstage.sweep.spec import Spec

MODES = ("auto", vectorised.MODE, looped.MODE, "processes")

# Seconds of work below which a second process does not repay its start.
_WORTH_A_PROCESS = 6.0


def plan(spec: Spec, cells: Sequence[Cell], *, workers: int | None = None) -> Plan:
    """How some cells are best computed, by trying their first steps in each way.

    Args:
        spec: What they share.
        cells: Of the specification; each structure (keywords of the factory, optimizer, batch size, schedule) is
            tried once, which costs about a twentieth of the work.
        workers: Processes to plan for; None: as many as there are cores, if the work is worth it, and one for a GPU.

    Returns:
        The plan; ``str(plan)`` says why.

    Raises:
        SpecError: if data, model or metrics cannot be used.

    Example:
        >>> from gainstage.sweep.examples import blobs_spec
        >>> spec = blobs_spec(axes={"lr": (0.1, 0.2), "seed": range(4)}, steps=2)
        >>> sum(len(chunk.cells) for chunk in plan(spec, spec.cells(), workers=1).chunks)
        8
    """
    require_measurable(spec, loaded(spec))
    available = workers or (_cores() if torch.device(spec.device).type == "cpu" else 1)
    chunks: list[Chunk] = []
    with one_thread():
        for group in grouped(cells):
            choice = chosen(spec, group, _most(len(group), available))
            # One by one there is nothing to share; what is handed to a process at once is worth the handing.
            size = choice.size if choice.mode == vectorised.MODE else _handful(choice.seconds, len(group), available)
            for own in _split(group, size):
                chunks.append(Chunk(tuple(own), choice.mode, choice.why, choice.seconds * len(own)))
    seconds = sum(chunk.seconds for chunk in chunks)
    spread = workers or (available if seconds > _WORTH_A_PROCESS else 1)
    return Plan(tuple(chunks), max(1, min(spread, len(chunks))))


def execute(
    spec: Spec, cells: Sequence[Cell], *, mode: str = "auto", progress: Callable[[int], None] | None = None
) -> tuple[Row, ...]:
    """Trains the networks of some cells. What is returned depends on the arguments alone, up to rounding.

    Args:
        spec: What they share.
        cells: Any of the specification's.
        mode: ``vectorised``: those of one structure together, in this process; ``looped``: one after the other;
            ``processes``: as planned, over one process of one thread for each core, this one among them; ``auto``:
            as planned, over processes only if that is worth it and this is not a worker itself.
        progress: Called with the number of cells that were finished since the last call.

    Returns:
        One row for each cell, in their order. A cell that raises has its error in its row.

    Raises:
        UnknownNameError: if there is no such mode.
        SpecError: if data or metrics cannot be used.

    Validity:
        A row is the same whatever it is computed with: up to rounding, which a training that is chaotic (a
        learning rate at the edge of divergence) makes larger with every step.

    Example:
        >>> from gainstage.sweep.examples import blobs_spec
        >>> spec = blobs_spec(axes={"lr": (0.1, 0.2)}, steps=20, metrics=("train_loss",))
        >>> [row.curves["train_loss"][-1] < row.curves["train_loss"][0] for row in execute(spec, spec.cells())]
        [True, True]
    """
    if mode not in MODES:
        raise UnknownNameError("execute", "mode", mode, MODES)
    if not cells:
        return ()
    data = loaded(spec)
    require_measurable(spec, data)
    if mode in (vectorised.MODE, looped.MODE):
        with one_thread():
            found = _run(spec, cells, mode, progress)
    else:
        own_worker = multiprocessing.parent_process() is not None
        workers = max(2, _cores()) if mode == "processes" else 1 if own_worker else None
        made = plan(spec, cells, workers=workers)
        with one_thread():
            found = run_spread(spec, made, execute, progress)
    by_key = {row.key: row for row in found}
    return tuple(by_key[cell.key] for cell in cells)


def _run(spec: Spec, cells: Sequence[Cell], mode: str, progress: Callable[[int], None] | None) -> tuple[Row, ...]:
    if mode == looped.MODE:
        return run_looped(spec, cells, progress)
    return tuple(row for group in grouped(cells) for row in _run_together(spec, group, progress))


def _run_together(spec: Spec, cells: Sequence[Cell], progress: Callable[[int], None] | None) -> tuple[Row, ...]:
    """The cells of one structure at once; one by one where that cannot be, or fails on the way."""
    data = loaded(spec)
    models: dict[str, nn.Module] = {}
    rows: list[Row] = []
    for cell in cells:
        try:
            models[cell.key] = built(spec, cell, data)
        except Exception as error:
            rows.append(failed(cell, error, vectorised.MODE))
    sound = [cell for cell in cells if cell.key in models]
    if progress and rows:
        progress(len(rows))
    if not sound:
        return tuple(rows)
    counted = _Counted(progress)
    try:
        kind = kind_of(spec, sound)
        if not isinstance(kind, Refusal):
            made = vectorised.program(spec, kind, [models[cell.key] for cell in sound], sound, data)
            return (*rows, *vectorised.Chunk(spec, sound, made, data).train(counted))
    except Exception:  # each cell tells its own error when it is run by itself
        pass
    return (*rows, *run_looped(spec, sound, counted.rest))


class _Counted:
    """Progress that does not count a cell twice when it is run again."""

    def __init__(self, progress: Callable[[int], None] | None) -> None:
        self._progress, self._told, self._again = progress, 0, 0

    def __call__(self, count: int) -> None:
        self._told += count
        if self._progress:
            self._progress(count)

    def rest(self, count: int) -> None:
        self._again += count
        if self._again > self._told:
            self(count)


def _split(cells: Sequence[Cell], size: int) -> list[Sequence[Cell]]:
    """Chunks of about one size."""
    count = math.ceil(len(cells) / size)
    edges = [len(cells) * place // count for place in range(count + 1)]
    return [cells[low:high] for low, high in itertools.pairwise(edges)]


def _most(count: int, workers: int) -> int:
    """Cells in a chunk, so that processes which start or end at different times all have work to the end."""
    return min(math.ceil(count / workers), max(8, math.ceil(count / (4 * workers)))) if workers > 1 else count


def _handful(seconds: float, count: int, workers: int) -> int:
    """Cells for about a second of work, but several chunks for each process."""
    return max(1, min(int(1 / max(seconds, 1e-3)), math.ceil(count / (4 * workers))))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
