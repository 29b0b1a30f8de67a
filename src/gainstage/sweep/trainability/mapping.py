"""The map: a coarse lattice of short runs for each variant, then finer ones along the boundary of what trains."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from gainstage.errors import GainstageError, InputError, SubjectError
from gainstage.landscape.training import BATCHES, trained
from gainstage.seeding import preserved_rng
from gainstage.sweep.trainability.fingerprint import fingerprints
from gainstage.sweep.trainability.judging import judged, region
from gainstage.sweep.trainability.keeping import Keeping, KeptRun, Place
from gainstage.sweep.trainability.lattice import PER_DECADE, STRIDE, Axis, Point, between, coarse
from gainstage.sweep.trainability.records import MapCell, TrainabilityMap
from gainstage.sweep.trainability.variants import NORMS, optimizer_like, scale_weights_, variant
from gainstage.trace.copies import copied
from gainstage.trace.subject import Subject

# A loss so many times the largest that a run of its variant began with before, or times one, is not coming back.
DIVERGED = 1e3

Advance = Callable[[int, str], None]


@dataclass
class _Run:
    """A map in the making."""

    subject: Subject
    steps: int
    seed: int
    scales: Axis
    rates: Axis
    budget: float
    advance: Advance
    keeping: Keeping | None = None
    known: dict[Place, KeptRun] = field(default_factory=dict[Place, KeptRun])
    began: float = 0.0
    variants: dict[str, Subject] = field(default_factory=dict[str, Subject])
    cells: dict[tuple[str, Point], MapCell] = field(default_factory=dict[tuple[str, Point], MapCell])
    longest: float = 0.0
    interrupted: bool = False
    short: bool = False

    @property
    def spent(self) -> float:
        """Seconds of the budget; those of the kept runs are among them."""
        return time.monotonic() - self.began

    @property
    def is_over(self) -> bool:
        """Whether the budget does not last for another run."""
        return self.spent + self.longest > self.budget

    def go_on_with(self, kept: Sequence[KeptRun]) -> None:
        """Starts the clock, with the runs of earlier calls and the time that they took."""
        self.known = {run.place: run for run in kept}
        self.began = time.monotonic() - max((run.spent for run in kept), default=0.0)
        self.longest = max((run.seconds for run in kept), default=0.0)


def trainability_map(
    subject: Subject, *, norms: Sequence[str] = NORMS, scales: tuple[float, float] = (1e-2, 1e2),
    rates: tuple[float, float] = (1e-5, 10.0), steps: int = 100, budget: float = 150.0, seed: int = 0,
    store: str | Path | None = None, on_progress: Callable[[int, str], None] | None = None,
) -> TrainabilityMap:  # fmt: skip
    """Trains the model for a few steps from many initial scales, at many learning rates, with each normalization.

    One run a decade at first, then, halving the distance twice, wherever one run trains and its neighbour does not:
    the boundary is what matters. A run trains if it makes at least half of the progress of the map's best run, from
    the lowest loss that any run begins with. Interrupted by Ctrl-C, the map of the runs so far is returned.

    Args:
        subject: Model, batches, loss; its optimizer's type and options (one group) are used with other learning
            rates, Adam without one. Nothing of it is changed.
        norms: Variants: ``as-is``, ``none``, ``batch``, ``group``, ``layer``. One that cannot be made is skipped,
            with the reason.
        scales: Of the factors on initial weights of two dimensions and more, from and to.
        rates: Of the learning rates, from and to.
        steps: Of each run; every run sees the same batches.
        budget: Seconds after which no run is begun, of the whole map: what kept runs took is spent. The map is then
            the same however often it was stopped, and a larger budget refines it further.
        store: A folder that keeps every run when it is finished; called again, the map goes on where it was stopped,
            whatever stopped it. None: nothing is kept.
        seed: Of the batches' order and of what the model draws while it trains.
        on_progress: Is told the number of runs so far, and what is being done.

    Returns:
        The runs, where each variant trains, and a learning rate for each.

    Raises:
        InputError: if a range, the steps or the budget cannot be used.
        UnknownNameError: if there is no such normalization.
        SubjectError: if the subject cannot be trained.
        StoreError: if the store cannot be read or written, or belongs to another subject, other settings or other
            versions: runs are not mixed. What it holds stays.

    Validity:
        Of the first steps: what trains here need not train best in the end. One seed; the boundary is rough by nature
        where runs are chaotic.

    Example:
        >>> import torch, gainstage as gs
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 3))
        >>> batch = (torch.randn(64, 8), torch.randint(3, (64,)))
        >>> found = gs.sweep.trainability_map(gs.Subject(model, batch), norms=("as-is",), steps=20, scales=(0.1, 10))
        >>> found.norms
        ('as-is',)

    References:
        Schoenholz et al. 2017, Deep information propagation, figure 5; Bjorck et al. 2018, Understanding batch
        normalization, figure 1.
    """
    if steps < 2 or not budget > 0:
        raise InputError(f"map: steps must be at least 2 and the budget positive, got {steps} and {budget:g} s.")
    if not scales[0] <= 1 <= scales[1]:
        raise InputError(
            f"map: scales must go from 1 or less to 1 or more, got {scales[0]:g} to {scales[1]:g}: 1 is the model's "
            "own, for which learning rates are recommended."
        )
    if not norms:
        raise InputError(f"map: norms must be one at least, got none. Known: {', '.join(NORMS)}.")
    axes = Axis.between("scales", *scales), Axis.between("learning rates", *rates)
    run = _Run(
        _with_batches_held(subject, seed), steps, seed, *axes, budget, on_progress or (lambda _done, _what: None)
    )
    skipped, notes = _make_variants(run, norms)
    with nullcontext() if store is None else Keeping(store, _identity(run, norms)) as run.keeping:
        run.go_on_with(run.keeping.runs() if run.keeping else ())
        stride = _explore(run)
    if not run.cells:
        if run.interrupted:
            raise KeyboardInterrupt
        raise InputError(f"map: the budget must last for one run at least, got {budget:g} s. Raise it.")
    return _assembled(run, skipped, notes, stride)


def _with_batches_held(subject: Subject, seed: int) -> Subject:
    """The subject with the batches that every run sees: a loader that shuffles by itself would give each run others."""
    try:
        with preserved_rng(seed):
            held = subject.batches.take(BATCHES)
    except GainstageError:
        raise
    except Exception as error:
        detail = " ".join(str(error).split())
        raise SubjectError(
            f"map: batches must be readable, got {type(error).__name__}: {detail}. Iterate over them by themselves."
        ) from error
    return subject.replace(batches=held)


def _identity(run: _Run, norms: Iterable[str]) -> dict[str, str]:
    """All that determines the runs and their order: everything but the budget."""
    settings = {
        "series of norms": ",".join(dict.fromkeys(norms)),
        "range of scales": f"{run.scales.values[0]!r},{run.scales.values[-1]!r}",
        "range of learning rates": f"{run.rates.values[0]!r},{run.rates.values[-1]!r}",
        "number of steps": str(run.steps),
        "seed": str(run.seed),
    }
    return {**settings, **fingerprints(run.subject, run.subject.batches.take(BATCHES))}


def _explore(run: _Run) -> int:
    """Makes the runs, and returns the stride of the finest lattice that was begun."""
    stride = STRIDE
    try:
        points = coarse(run.scales, run.rates)
        _evaluate(run, ((norm, point) for point in points for norm in run.variants), "one run a decade")
        # Runs that are kept cost nothing, however little of the budget is left.
        while stride > 1 and not run.short and (run.known or not run.is_over):
            wanted = _boundary(run, stride)
            stride //= 2
            _evaluate(run, wanted, f"the boundary, to {stride / PER_DECADE:g} decades")
    except KeyboardInterrupt:
        run.interrupted = run.short = True
    return stride


def _make_variants(run: _Run, norms: Iterable[str]) -> tuple[list[tuple[str, str]], list[str]]:
    skipped: list[tuple[str, str]] = []
    notes: list[str] = []
    for norm in dict.fromkeys(norms):
        made = variant(run.subject, norm)
        if isinstance(made, str):
            skipped.append((norm, made))
            continue
        run.variants[norm], note = made
        notes.extend([note] if note else ())
    if not run.variants:
        raise InputError(f"map: one of the norms must be possible, got {', '.join(norms)}: {skipped[0][1]}.")
    return skipped, notes


def _evaluate(run: _Run, wanted: Iterable[tuple[str, Point]], what: str) -> None:
    for norm, point in wanted:
        kept = run.known.pop((norm, run.scales.values[point[0]], run.rates.values[point[1]]), None)
        if kept is None and run.is_over:
            run.short = True
            return
        run.cells[norm, point] = _made(run, norm, point) if kept is None else kept.cell
        run.advance(len(run.cells), what)


def _made(run: _Run, norm: str, point: Point) -> MapCell:
    """A new run, which is on disk when this returns."""
    begun = time.monotonic()
    cell = _trained(run, norm, point)
    took = time.monotonic() - begun
    run.longest = max(run.longest, took)
    if run.keeping is not None:
        run.keeping.keep(KeptRun(cell, took, run.spent))
    return cell


def _trained(run: _Run, norm: str, point: Point) -> MapCell:
    scale, lr = run.scales.values[point[0]], run.rates.values[point[1]]
    own = copied(run.variants[norm])
    scale_weights_(own.model, scale)
    own = own.replace(optimizer=optimizer_like(run.subject.optimizer, own.model, lr))
    starts = [cell.initial for cell in run.cells.values() if cell.norm == norm and cell.initial is not None]
    limit = DIVERGED * max(1.0, *starts) if starts else math.inf
    losses = trained(own, run.steps, run.seed, lambda _done: None, above=limit)
    whole = len(losses) == run.steps and math.isfinite(losses[-1]) and losses[-1] <= limit
    return MapCell(
        norm, scale, lr, _finite(losses[0]),
        _finite(statistics.median(losses[-max(3, run.steps // 10) :])) if whole else None,
        None if whole else len(losses) - 1,
    )  # fmt: skip


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _boundary(run: _Run, stride: int) -> list[tuple[str, Point]]:
    """Where to look next, the variants in turn."""
    cells, _, _ = judged(list(run.cells.values()))
    labels: dict[str, dict[Point, bool]] = {norm: {} for norm in run.variants}
    for (norm, point), cell in zip(run.cells, cells, strict=True):
        labels[norm][point] = cell.trains
    wanted = [(rank, norm, point) for norm in labels for rank, point in enumerate(between(labels[norm], stride))]
    return [(norm, point) for _, norm, point in sorted(wanted, key=lambda entry: entry[0])]


def _assembled(run: _Run, skipped: list[tuple[str, str]], notes: list[str], stride: int) -> TrainabilityMap:
    cells, start, best = judged(list(run.cells.values()))
    given = run.subject.optimizer
    found = TrainabilityMap(
        name=run.subject.name, optimizer="Adam" if given is None else type(given).__name__, steps=run.steps,
        scales=run.scales, rates=run.rates, cells=tuple(cells), regions=(), skipped=tuple(skipped),
        notes=tuple(notes), start=start, best=best, resolution=stride / PER_DECADE,
        complete=stride == 1 and not run.short,
        interrupted=run.interrupted,
    )  # fmt: skip
    whole = partial(region, scales=run.scales, rates=run.rates)
    regions = tuple(whole(norm, found.filled(norm)) for norm in run.variants if found.filled(norm))
    return replace(found, regions=regions)
