"""What an exhaustive sweep of learning rates finds for each setting: the best rate, and the edges of training.

    python benchmarks/lr_sweeps.py FOLDER [--set development|test|all]

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--set", choices=("development", "test", "all"), default="development")
    options = parser.parse_args()
    for setting in chosen(options.set):
        found = swept(setting, options.folder)
        print(
            f"{setting.name:22s} best {found.best:8.3g} ({found.smooth_best:8.3g})  edge {found.edge:8.3g}"
            f"  loss {found.finals[found.best]:.3g}",
            flush=True,
        )


if __name__ == "__main__":
    main()
