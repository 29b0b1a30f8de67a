"""One seed of one claim: the job that backends compute."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch

from gainstage.errors import MissingDataError
from gainstage.lab.claim import Claim, Design
from gainstage.lab.confrontation import Confrontation
from gainstage.lab.store import SeedResult
from gainstage.seeding import preserved_rng
from gainstage.sweep.engine.calibration import one_thread
from gainstage.version import __version__


@dataclass(frozen=True)
class Missing:
    """Data that is not there, and how to get it."""

    reason: str


Experiment = Claim[Any] | Confrontation[Any]


@dataclass(frozen=True)
class SeedJob:
    """An experiment and a seed."""

    id: int
    experiment: str
    seed: int


@dataclass(frozen=True)
class SeedWork:
    """What all jobs of a run have in common.

    Attributes:
        preset: Of all claims.
        find: Experiment by id; importable by its name where jobs go to other processes.
    """

    preset: str
    find: Callable[[str], Experiment]

    def rows(self, job: SeedJob) -> list[SeedResult | Missing]:
        """All that is measured for one seed, or what it lacks."""
        experiment = self.find(job.experiment)
        try:
            return [measured(experiment, experiment.designs[self.preset], job.seed)]
        except MissingDataError as error:
            return [Missing(str(error))]


def measured(experiment: Experiment, design: Design, seed: int) -> SeedResult:
    """The rows of one seed; ``part`` tells a claim's from its control's."""
    start = time.perf_counter()
    # Measurements draw from generators of their own; this holds even if a module's constructor does not.
    # One thread: sums of several threads round differently from machine to machine, and processes share the cores.
    with preserved_rng(), one_thread():
        parts = {part: measure(design, seed) for part, measure in experiment.measures.items()}
    rows = [{"part": part, "seed": seed, **row} for part, found in parts.items() for row in found]
    return SeedResult(rows, time.perf_counter() - start)


def versions() -> dict[str, str]:
    """Of what measures here: another of these may round differently, so stored seeds are not mixed."""
    packages = {name: version(name) for name in ("torch", "numpy")}
    return {"gainstage": __version__, "python": platform.python_version(), **packages}


def device_name(design: Design) -> str:
    """What a design is measured on here; one without a ``device`` is measured on the CPU."""
    if getattr(design, "device", "cpu") == "auto" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU ({platform.machine()})"
