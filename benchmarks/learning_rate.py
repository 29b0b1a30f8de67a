"""Suggested learning rates against an exhaustive sweep, beside two learning-rate finders, in one run.

    PYTHONPATH=tests python benchmarks/learning_rate.py FOLDER [--set development|test] [--only WAY] [--fit]

For each setting of `lr_settings.py` and two seeds of weights: `gainstage.landscape.suggest_lr`, torch-lr-finder
(`LRFinder.range_test` with its defaults; the rate of the steepest descent, as its `plot` suggests) and Lightning's
(`Tuner.lr_find` with its defaults, and its `suggestion`), each with the defaults of a user who knows nothing of the
network. FOLDER holds the sweeps of `lr_sweeps.py`, which are run if they are not there.

    best      the suggested rate lies within a factor of three of the sweep's best (of its losses' running mean)
    progress  how far a run at the grid's nearest rate gets from knowing nothing to the best end, the mean share
    trains    a run there ends below the tenth of the way from knowing nothing to the best end
    below     the safe maximum lies below the edge of the sweep
    third     and above a third of it (of the settings whose edge the grid reaches)

``--fit`` prints the margins that fit the set best; they are fitted on the development set alone.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import math
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from lr_settings import Setting
from lr_sweeps import SEEDS, Found, chosen, spec_of, swept
from torch import nn
from torch.utils.data import DataLoader

from gainstage.landscape import LearningRate, suggest_lr
from gainstage.landscape.learning_rate import margins
from gainstage.sweep.data import Data, Order, loaded
from gainstage.sweep.engine.initial import built
from gainstage.sweep.optimizers import optimizer
from gainstage.sweep.settings import settings
from gainstage.trace import Subject

BATCHES = 24
_FACTOR = 3.0


@dataclass(frozen=True)
class Task:
    """One setting with the weights of one seed."""

    setting: Setting
    seed: int
    model: nn.Module
    updates: torch.optim.Optimizer
    batches: list[tuple[torch.Tensor, torch.Tensor]]
    loss: nn.Module


def task(setting: Setting, seed: int) -> Task:
    spec = spec_of(setting)
    cell = next(cell for cell in spec.cells() if cell.values["seed"] == seed)
    data: Data = loaded(spec)
    model, own = built(spec, cell, data), settings(cell.values)
    # Another order than the sweep's runs: the batches are what a user would have at hand.
    order = Order(77 + seed, data.samples, own.batch_size)
    indices = (order.batch(place) for place in range(BATCHES))
    batches = [(data.train_inputs[chosen], data.train_targets[chosen]) for chosen in indices]
    loss = nn.CrossEntropyLoss() if data.classes else nn.MSELoss()
    return Task(setting, seed, model, optimizer(replace(own, lr=1e-3), list(model.parameters())), batches, loss)


@dataclass(frozen=True)
class Answer:
    """A rate and its cost."""

    rate: float
    passes: float
    seconds: float
    safe: float | None = None
    found: LearningRate | None = None


def ours(given: Task) -> Answer:
    start = time.perf_counter()
    found = suggest_lr(Subject(given.model, given.batches, optimizer=given.updates))
    return Answer(found.recommended, found.equivalents, time.perf_counter() - start, found.safe_max, found)


def torch_lr_finder(given: Task) -> Answer:
    from torch_lr_finder import LRFinder  # an optional package

    start = time.perf_counter()
    for group in given.updates.param_groups:
        group["lr"] = 1e-7  # as its examples begin
    finder = LRFinder(given.model, given.updates, given.loss, device="cpu")
    finder.range_test(DataLoader(given.batches, batch_size=None), end_lr=10, num_iter=100)
    history = finder.history
    finder.reset()
    return Answer(_steepest(history["lr"], history["loss"]), len(history["loss"]), time.perf_counter() - start)


def _steepest(tried: list[float], losses: list[float], skip_start: int = 10, skip_end: int = 5) -> float:
    """What the package's ``plot`` marks: the steepest gradient of the smoothed loss."""
    import numpy as np

    within = slice(skip_start, len(tried) - skip_end)
    if len(tried[within]) < 2:
        return math.nan
    return tried[within][int(np.gradient(np.array(losses[within])).argmin())]


def lightning_finder(given: Task) -> Answer:
    from zoo.packages import package  # imports it where torchvision is broken

    lightning, tuner = package("lightning.pytorch"), package("lightning.pytorch.tuner")
    assert lightning is not None
    assert tuner is not None

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.lr = given.model, 1e-3

        def training_step(self, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
            return given.loss(self.model(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            for group in given.updates.param_groups:
                group["lr"] = self.lr
            return given.updates

    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            max_epochs=100, logger=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
            enable_checkpointing=False, default_root_dir=folder, devices=1,
        )  # fmt: skip
        found = tuner.Tuner(trainer).lr_find(Module(), train_dataloaders=DataLoader(given.batches, batch_size=None))
    assert found is not None
    suggestion = found.suggestion()
    passes = len(found.results["loss"])
    return Answer(math.nan if suggestion is None else suggestion, passes, time.perf_counter() - start)


WAYS: dict[str, Callable[[Task], Answer]] = {
    "gainstage": ours, "torch-lr-finder": torch_lr_finder, "lightning": lightning_finder,
}  # fmt: skip


@dataclass(frozen=True)
class Result:
    """An answer beside the sweep's."""

    setting: Setting
    answer: Answer
    truth: Found

    @property
    def near(self) -> bool:
        return 1 / _FACTOR <= self.answer.rate / self.truth.smooth_best <= _FACTOR

    @property
    def near_strictly(self) -> bool:
        return 1 / _FACTOR <= self.answer.rate / self.truth.best <= _FACTOR

    @property
    def end(self) -> float:
        """The figure of the sweep's rate that is nearest."""
        if not self.answer.rate > 0:
            return math.inf
        return self.truth.finals[min(self.truth.finals, key=lambda lr: abs(math.log(lr / self.answer.rate)))]

    @property
    def progress(self) -> float:
        """The share of the way from knowing nothing to the best end."""
        best = self.truth.finals[self.truth.best]
        # The level lies a tenth on the way.
        return 1 - (self.end - best) / ((self.truth.level - best) / 0.9)


def compared(name: str, folder: Path) -> dict[str, list[Result]]:
    found: dict[str, list[Result]] = {way: [] for way in WAYS}
    for setting in chosen(name):
        truth = swept(setting, folder)
        for seed in SEEDS:
            for way, call in WAYS.items():
                with _quiet():
                    answer = call(task(setting, seed))
                found[way].append(Result(setting, answer, truth))
        mine = found["gainstage"][-1].answer
        print(
            f"{setting.name:22s} best {truth.smooth_best:8.3g}  edge {truth.edge:8.3g} | "
            + "  ".join(f"{way} {results[-1].answer.rate:8.3g}" for way, results in found.items())
            + f"  safe {mine.safe or math.nan:8.3g}",
            flush=True,
        )
    return found


@contextlib.contextmanager
def _quiet():
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield


def share(values: list[bool]) -> str:
    return f"{sum(values) / len(values):.0%} of {len(values)}" if values else "none"


def report(found: dict[str, list[Result]]) -> None:
    print(f"\n{'':18s}{'best':>13s} {'strictly':>13s} {'trains':>13s} {'progress':>9s} {'passes':>7s} {'seconds':>8s}")
    for way, results in found.items():
        answers = [entry.answer for entry in results]
        progress = [min(1.0, max(0.0, entry.progress)) for entry in results]
        print(
            f"{way:18s}{share([entry.near for entry in results]):>13s} "
            f"{share([entry.near_strictly for entry in results]):>13s} "
            f"{share([entry.end < entry.truth.level for entry in results]):>13s} {statistics.mean(progress):9.2f} "
            f"{statistics.mean(answer.passes for answer in answers):7.1f} "
            f"{statistics.median(answer.seconds for answer in answers):8.2f}"
        )
    mine = [(entry.answer.safe or math.nan, entry.truth.edge) for entry in found["gainstage"]]
    print(f"safe maximum below the edge: {share([safe < edge for safe, edge in mine])}")
    reached = [(safe, edge) for safe, edge in mine if edge < math.inf]
    print(f"and above a third of it:     {share([safe > edge / 3 for safe, edge in reached])}")
    print(f"most passes: {max(entry.answer.passes for entry in found['gainstage']):.0f} (bar 60)")


def fit(results: list[Result]) -> None:
    """The margins by least squares, and the share within a factor of three with each network left out in turn."""
    import numpy as np

    families = list(margins.OFFSET)
    rows: list[list[float]] = []
    targets: list[float] = []
    for entry in results:
        measured = entry.answer.found
        assert measured is not None
        edge = margins.edge_of(measured.held or 0.0, measured.lost or math.inf)
        noise = min(max(measured.noise, margins.NOISE[0]), margins.NOISE[1])
        steps = [math.log10(measured.profile.steps[0] / edge), math.log10(noise)]
        rows.append([*steps, *(float(measured.family == family) for family in families)])
        targets.append(math.log10(entry.truth.smooth_best / edge))
    design, wanted = np.array(rows), np.array(targets)
    ridge = np.diag([0.6, 0.6, 0, 0, 0])[:2]

    def solved(kept: np.ndarray) -> np.ndarray:
        return np.linalg.lstsq(np.r_[design[kept], ridge], np.r_[wanted[kept], [0, 0]], rcond=None)[0]

    networks = np.array([entry.setting.name.split("/")[0] for entry in results])
    errors = [wanted[i] - design[i] @ solved(networks != networks[i]) for i in range(len(results))]
    print(f"\nfitted: towards promise, per noise, {', '.join(families)}: {np.round(solved(networks != ''), 2)}")
    print(
        f"each network left out in turn: {share([abs(error) < math.log10(_FACTOR) for error in errors])} within three"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--set", choices=("development", "test"), default="test")
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--only", choices=WAYS, action="append", help="not the others")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in list(WAYS):
        if options.only and name not in options.only:
            del WAYS[name]
    found = compared(options.set, options.folder)
    report(found)
    if options.fit:
        fit(found["gainstage"])


if __name__ == "__main__":
    sys.exit(main())
