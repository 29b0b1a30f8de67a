"""The cases: every architecture with every fault that applies to it, at every level, and its healthy twin."""

from __future__ import annotations

import ast
import hashlib
import inspect
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from accuracy.development import DEVELOPMENT
from accuracy.fault import Fault, Level
from accuracy.held_out import HELD_OUT
from accuracy.init_faults import INIT_FAULTS
from accuracy.norm_faults import NORM_FAULTS
from accuracy.setup import Architecture, Setup
from accuracy.training_faults import TRAINING_FAULTS
from accuracy.wiring_faults import WIRING_FAULTS
from gainstage.seeding import preserved_rng

Split = Literal["development", "test"]
ARCHITECTURES: dict[Split, tuple[Architecture, ...]] = {"development": DEVELOPMENT, "test": HELD_OUT}
FAULTS: tuple[Fault, ...] = (*INIT_FAULTS, *WIRING_FAULTS, *NORM_FAULTS, *TRAINING_FAULTS)
HEALTHY = "healthy"


@dataclass(frozen=True)
class Case:
    """An architecture with a fault at a level; with none of them it is the healthy twin."""

    split: Split
    architecture: str
    fault: str = HEALTHY
    level: Level | Literal[""] = ""

    @property
    def key(self) -> str:
        return "/".join(part for part in (self.architecture, self.fault, self.level) if part)

    @property
    def healthy(self) -> bool:
        return self.fault == HEALTHY

    @property
    def twin(self) -> Case:
        return Case(self.split, self.architecture)


@dataclass(frozen=True)
class Extent:
    """How much is measured.

    Attributes:
        seeds: Trainings of a case.
        check_seeds: Checks of a mutant; twins are checked with ``twin_seeds``.
        steps: Of a training, where it is not that of the architecture.
        trial: Steps of the trial of a check.
        architectures, faults: Every so many-th of the list is taken.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    check_seeds: tuple[int, ...] = (0,)
    twin_seeds: tuple[int, ...] = tuple(range(15))
    steps: int | None = None
    trial: int = 200
    architectures: int = 1
    faults: int = 1

    def checked(self, case: Case) -> tuple[int, ...]:
        return self.twin_seeds if case.healthy else self.check_seeds


QUICK = Extent(seeds=(0,), twin_seeds=(0,), steps=20, trial=5, architectures=9, faults=11)


def fault_named(name: str) -> Fault:
    return next(entry for entry in FAULTS if entry.name == name)


def architecture_of(case: Case) -> Architecture:
    return next(entry for entry in ARCHITECTURES[case.split] if entry.name == case.architecture)


def cases(split: Split, extent: Extent) -> list[Case]:
    """Those that apply, each architecture's twin first."""
    found: list[Case] = []
    for architecture in ARCHITECTURES[split][:: extent.architectures]:
        twin = Case(split, architecture.name)
        mutants = [
            Case(split, architecture.name, entry.name, level)
            for entry in FAULTS[:: extent.faults]
            for level in entry.levels
        ]
        found += [twin, *(case for case in mutants if built(case, 0, extent) is not None)]
    return found


def built(case: Case, seed: int, extent: Extent) -> Setup | None:
    """The case's setup, freshly drawn; None where the fault does not apply. A twin of one seed has equal weights."""
    with preserved_rng(seed):
        setup = architecture_of(case).setup()
        if extent.steps is not None:
            setup = replace(setup, steps=extent.steps)
        if case.healthy:
            return setup
        entry = fault_named(case.fault)
        assert case.level
        return entry.inject(setup, entry.levels[case.level])


@lru_cache(maxsize=4096)
def digest(case: Case, extent: Extent) -> str:
    """Of the source of the architecture, its data and the fault: what was measured of another is not taken for it."""
    architecture = architecture_of(case)
    parts = [_meaning(architecture.model), _meaning(architecture.data)]
    parts += [repr((architecture.recipe, architecture.batch_size, architecture.steps, extent.steps, extent.trial))]
    if case.level:
        entry = fault_named(case.fault)
        parts += [_meaning(entry.inject), repr(entry.levels[case.level])]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _meaning(thing: Callable[..., object]) -> str:
    """Its source but for layout and comments."""
    return ast.dump(ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(thing)))))


def splits_of(choice: str) -> Sequence[Split]:
    return ("development", "test") if choice == "all" else ("test",) if choice == "test" else ("development",)
