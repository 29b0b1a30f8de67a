"""What an exhaustive sweep of learning rates finds for each setting: the best rate, and the edges of training.

    python benchmarks/lr_sweeps.py FOLDER [--set development|test|all] [--horizons]

Every rate of a grid of six a decade, two seeds, 200 steps at a constant rate, by the sweep engine. The figure of a run
is the median batch loss of its last tenth; a rate's is the mean over the seeds, and a run that diverged has none.

    best  the rate with the lowest figure; and that of the running mean over three rates of its logarithm, which depends
          less on the luck of single runs
    edge  up to there runs make at least a tenth of the way from the loss of the best constant output, or from the start
          if that is lower, to the best figure: the geometric mean over the seeds of the last rate that holds before the
          first that does not and of that first one. The sweep only tells that the truth lies between them.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import lr_settings
import torch
from lr_settings import STEPS, Setting

from gainstage import sweep
from gainstage.sweep.cells import Row
from gainstage.sweep.data import loaded

SEEDS = (0, 1)
_EVERY = 4
_LAST = 6
HORIZONS = (12, 16, 24, 32, 48, 64, 100, 150)


@dataclass(frozen=True)
class Found:
    """Of one setting; the edge is inf where the grid ends before it."""

    best: float
    smooth_best: float
    edge: float
    level: float
    finals: dict[float, float]


def rates(optimizer: str) -> tuple[float, ...]:
    most = 0 if optimizer.startswith("adam") else 12
    return tuple(float(f"{10 ** (place / 6):.4g}") for place in range(-30, most + 1))


def spec_of(setting: Setting) -> sweep.Spec:
    here = str(Path(lr_settings.__file__))
    return sweep.Spec(
        name=setting.name.replace("/", "-"), model=f"{here}:{setting.model}", data=f"{here}:{setting.data}",
        axes={"lr": rates(setting.optimizer), "seed": SEEDS}, fixed={**setting.keywords, **setting.training},
        steps=STEPS, measure=_EVERY, metrics=("batch_loss",), stop=sweep.Stop(factor=1e6),
    )  # fmt: skip


def swept(setting: Setting, folder: Path) -> Found:
    """From the store in the folder, which is filled if it is not there."""
    spec = spec_of(setting)
    return judged(list(sweep.run(spec, store=folder / spec.name)), knowing_nothing(loaded(spec)))


def knowing_nothing(data: sweep.Data) -> float:
    """The loss of the best constant output."""
    targets = data.train_targets
    if not data.classes:
        return float((targets - targets.mean(0)).square().mean())
    shares = torch.bincount(targets) / len(targets)
    return float(-(shares[shares > 0] * shares[shares > 0].log()).sum())


def judged(rows: list[Row], constant: float) -> Found:
    start = min(constant, statistics.fmean(row.curves["batch_loss"][0] for row in rows))
    finals = {(row.values["lr"], row.values["seed"]): _final(row) for row in rows}
    grid = sorted({lr for lr, _ in finals})
    means = {lr: statistics.fmean(finals[lr, seed] for seed in SEEDS) for lr in grid}
    best = min(grid, key=lambda lr: means[lr])
    level = start - (start - means[best]) / 10
    edge = _edge(grid, best, lambda lr, seed: finals[lr, seed] < level)
    return Found(best, _smooth_best(grid, means), edge, level, means)


def _smooth_best(grid: list[float], means: dict[float, float]) -> float:
    logs = [math.log(max(means[lr], 1e-12)) if means[lr] < math.inf else 20.0 for lr in grid]
    inner = range(1, len(grid) - 1)
    return grid[min(inner, key=lambda place: sum(logs[place - 1 : place + 2]))]


def _final(row: Row) -> float:
    curve = row.curves["batch_loss"]
    if row.error:
        raise SystemExit(f"{row.values}: {row.error}")
    return math.inf if row.diverged_at is not None else statistics.median(curve[-_LAST:])


def _edge(grid: list[float], best: float, holds: Callable[[float, int], bool]) -> float:
    """From the best rate upwards, the first that does not hold."""
    logs: list[float] = []
    for seed in SEEDS:
        above = [lr for lr in grid if lr >= best]
        first = next((place for place, lr in enumerate(above) if not holds(lr, seed)), None)
        if first is None:
            return math.inf
        logs.append(math.log(above[first]) / 2 + math.log(above[max(0, first - 1)]) / 2)
    return math.exp(statistics.fmean(logs))


def chosen(name: str) -> Iterable[Setting]:
    sets = {"development": lr_settings.DEVELOPMENT, "test": lr_settings.TEST}
    return [setting for key, settings in sets.items() if name in (key, "all") for setting in settings]


def predicted(setting: Setting, folder: Path) -> tuple[float, dict[int, float]]:
    """log10 of one seed's edge after all steps, and of what the first steps of the other seed's runs make of it."""
    spec = spec_of(setting)
    rows, found = list(sweep.run(spec, store=folder / spec.name)), swept(setting, folder)
    nothing = found.finals[found.best] + (found.level - found.finals[found.best]) / 0.9
    ends = {row.values["lr"]: _final(row) for row in rows if row.values["seed"] == SEEDS[0]}
    curves = {row.values["lr"]: row.curves["batch_loss"] for row in rows if row.values["seed"] == SEEDS[1]}
    early: dict[int, float] = {}
    for steps in HORIZONS:
        last = steps // _EVERY
        figures = {lr: _settled(curve[last - 2 : last + 1]) for lr, curve in curves.items()}
        lowest = min(sorted(figures), key=lambda lr: figures[lr])
        limit = nothing * (1.005 if figures[lowest] > 0.9 * nothing else 1.0)
        early[steps] = _first_lost(figures, lowest, limit)
    return _first_lost(ends, found.best, found.level), early


def _settled(losses: tuple[float, ...]) -> float:
    return statistics.median(losses) if math.isfinite(losses[-1]) else math.inf


def _first_lost(figures: dict[float, float], best: float, limit: float) -> float:
    """log10 of the middle between the last rate below the limit and the first that is not; inf without one."""
    grid = sorted(figures)
    lost = next((place for place, lr in enumerate(grid) if lr >= best and not figures[lr] < limit), None)
    return math.inf if lost is None else math.log10(grid[lost] * grid[max(0, lost - 1)]) / 2


def horizons(pairs: list[tuple[float, dict[int, float]]]) -> None:
    """With the margin that 95 % of safe maxima need to lie below the edge: the share above a third of it."""
    for steps in HORIZONS:
        known = [(early[steps], late) for late, early in pairs if early[steps] < math.inf]
        errors = [early - late for early, late in known if late < math.inf]
        margins = sorted([early - late for early, late in known])
        margin = margins[math.ceil(0.95 * len(margins)) - 1] + 1e-9
        third = sum(error - margin > -math.log10(3) for error in errors) / len(errors)
        spread = statistics.pstdev(errors)
        print(f"{steps:4d} steps: error {spread:.2f} decades, margin {margin:.2f}, above a third {third:.0%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--set", choices=("development", "test", "all"), default="development")
    parser.add_argument("--horizons", action="store_true", help="how well the first steps tell the edge of all")
    options = parser.parse_args()
    if options.horizons:
        horizons([entry for setting in chosen(options.set) if (entry := predicted(setting, options.folder))])
        return
    for setting in chosen(options.set):
        found = swept(setting, options.folder)
        print(
            f"{setting.name:22s} best {found.best:8.3g} ({found.smooth_best:8.3g})  edge {found.edge:8.3g}"
            f"  loss {found.finals[found.best]:.3g}",
            flush=True,
        )


if __name__ == "__main__":
    main()
