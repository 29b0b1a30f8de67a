"""How the cells of one structure are best computed, measured on their own first steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from gainstage.sweep.cells import Cell, content_hash
from gainstage.sweep.data import Data, loaded
from gainstage.sweep.engine import looped, vectorised
from gainstage.sweep.engine.initial import built
from gainstage.sweep.engine.proof import Refusal, provable
from gainstage.sweep.engine.vectorised import Chunk, Kind, program
from gainstage.sweep.optimizers import together
from gainstage.sweep.settings import model_options, settings
from gainstage.sweep.spec import Spec

# A processor's cache holds a few dozen small networks; a GPU wants thousands.
_SIZES = {"cpu": (4, 8, 16, 32, 64, 128)}
_LARGE_SIZES = (64, 256, 1024, 4096, 16384)

# The share of the work that measuring may cost, and the same where a few at once are no faster than one by one.
# How much slower than the best a smaller chunk may be: it is spread more evenly, and leaves room in a cache that the
# other processes share, which were not at work when it was measured.
_SHARE, _DOUBTFUL = 0.05, 0.01
_WORTH = 1.1
_GAIN = 0.95

# Seconds of a chunk. A kill loses half a chunk of each worker on average: of a minute's, that is less than what a new
# start costs. Short chunks are paid with every cell, and kills seldom come: for a minute's chunks cells may take a
# quarter longer, for those of ten minutes any time.
_BRIEF, _PRICE, _LONGEST = 60.0, 1.25, 600.0

# Steps of a trial: at least and at most, and the seconds that are enough.
_FEWEST, _MOST, _ENOUGH = 3, 20, 0.05


@dataclass(frozen=True)
class Choice:
    """How to compute cells of a structure.

    Attributes:
        mode: ``vectorised`` or ``looped``.
        size: Of a chunk, at most.
        seconds: Expected for one cell.
        why: In figures, or what forbids the other mode.
    """

    mode: str
    size: int
    seconds: float
    why: str


def structure(cell: Cell) -> str:
    """What cells must have alike to be computed many at once, as a hash.

    Example:
        >>> a, b = ({"width": 8, "lr": rate, "batch_size": 4} for rate in (0.1, 0.2))
        >>> structure(Cell.of(a)) == structure(Cell.of(b)) != structure(Cell.of({**a, "width": 9}))
        True
    """
    return content_hash([model_options(cell.values), together(settings(cell.values))])


def grouped(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Cells of the same structure together; within it those that see the same batches."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(structure(cell), []).append(cell)
    return [sorted(group, key=lambda cell: settings(cell.values).order_seed) for group in groups.values()]


_KINDS: dict[tuple[str, str], Kind | Refusal] = {}


def kind_of(spec: Spec, cells: Sequence[Cell]) -> Kind | Refusal:
    """`provable`, once in a process for each recipe and structure."""
    key = (spec.recipe, structure(cells[0]))
    if key not in _KINDS:
        _KINDS[key] = provable(spec, cells, loaded(spec))
    return _KINDS[key]


def chosen(spec: Spec, cells: Sequence[Cell], most: int) -> Choice:
    """The fastest way to compute cells of one structure.

    Args:
        spec: What they share.
        cells: Of one structure.
        most: Cells in a chunk, so that every process has some.

    Returns:
        The choice; loops where nothing else is possible.
    """
    try:
        kind = kind_of(spec, cells)
        alone = _looped_seconds(spec, cells[0])
    except Exception as error:  # recorded in the cells' rows when they are run
        return Choice(looped.MODE, 1, 0.0, f"does not run: {type(error).__name__}")
    if isinstance(kind, Refusal):
        return Choice(looped.MODE, 1, alone, kind.why)
    if len(cells) == 1:
        return Choice(looped.MODE, 1, alone, "a single cell of its structure")
    size, each = _fastest(spec, kind, cells, most, alone)
    figures = f"{kind.way} {_in_words(each)} a cell in chunks of {size}, one by one {_in_words(alone)}"
    # Where both are as fast, as for wide networks, one by one needs the least memory.
    if each < _GAIN * alone:
        return Choice(vectorised.MODE, size, each, figures)
    return Choice(looped.MODE, 1, alone, figures)


def _fastest(spec: Spec, kind: Kind, cells: Sequence[Cell], most: int, alone: float) -> tuple[int, float]:
    """Size of a chunk and seconds for a cell, of the sizes that are cheap enough to try."""
    wanted = _SIZES.get(torch.device(spec.device).type, _LARGE_SIZES)
    sizes = sorted({min(size, most, len(cells)) for size in wanted})
    tried: dict[int, float] = {}
    spent = 0.0
    for size in sizes:
        start = time.perf_counter()
        try:
            tried[size] = _together_seconds(spec, kind, cells[:size])
        except torch.cuda.OutOfMemoryError:
            break
        spent += time.perf_counter() - start
        best = min(tried.values())
        share = _SHARE if best < alone else _DOUBTFUL
        # The next size takes about twice as long to try; a size far from the best has the cache behind it, and where
        # a few at once are far slower than one by one, more will not be faster.
        if 3 * spent > share * alone * len(cells) or tried[size] > 1.25 * best or best > 1.5 * alone:
            break
    if not tried:
        return 1, math.inf
    return _sized(tried)


def _sized(tried: dict[int, float]) -> tuple[int, float]:
    """The smallest size that is nearly as fast as the best, or a smaller one whose chunks do not last long."""
    best = min(tried.values())
    size, each = next((size, each) for size, each in tried.items() if each <= _WORTH * best)
    if size * each > _BRIEF:
        near = [(size, each) for size, each in tried.items() if each <= _PRICE * best]
        brief = [(size, each) for size, each in near if size * each <= _BRIEF]
        size, each = brief[-1] if brief else near[0]
    return max(1, min(size, int(_LONGEST / each))), each


def _looped_seconds(spec: Spec, cell: Cell) -> float:
    data = loaded(spec)
    # The first optimizer of a process makes torch import what later ones find imported.
    looped.Trial(spec, cell, built(spec, cell, data)).step(0)
    start = _now(spec)
    trial = looped.Trial(spec, cell, built(spec, cell, data))
    begun = _now(spec) - start
    return begun + _per_run(spec, trial.step, trial.measure)


def _together_seconds(spec: Spec, kind: Kind, cells: Sequence[Cell]) -> float:
    data: Data = loaded(spec)
    start = _now(spec)
    chunk = Chunk(spec, cells, program(spec, kind, [built(spec, cell, data) for cell in cells], cells, data), data)
    begun = _now(spec) - start
    return (begun + _per_run(spec, chunk.step, chunk.measure)) / len(cells)


def _per_run(spec: Spec, step: Callable[[int], None], measure: Callable[[], object]) -> float:
    """Seconds for all steps and measurements, from the fastest of some: a disturbance makes none faster."""
    durations: list[float] = []
    while len(durations) < _FEWEST or (len(durations) < _MOST and sum(durations) < _ENOUGH):
        durations.append(_duration(spec, step, len(durations)))
    return spec.steps * min(durations) + len(spec.measured) * _duration(spec, lambda _place: measure(), 0)


def _duration(spec: Spec, call: Callable[[int], object], place: int) -> float:
    start = _now(spec)
    call(place)
    return _now(spec) - start


def _now(spec: Spec) -> float:
    """Processor time, which other programs on the machine disturb least; for a GPU the clock."""
    if torch.device(spec.device).type == "cuda":
        torch.cuda.synchronize(spec.device)
        return time.perf_counter()
    return time.thread_time()


def _in_words(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


@contextmanager
def one_thread() -> Generator[None]:
    """Small networks are computed fastest by one thread; processes share the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
