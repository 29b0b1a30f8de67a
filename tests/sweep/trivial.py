"""A sweep of pure arithmetic that needs no torch: gradient descent on w²/2, which diverges beyond a rate of two."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gainstage.sweep.backends import Inline, Local, Work
from gainstage.sweep.cells import Cell, Row
from gainstage.sweep.drive import drive
from gainstage.sweep.result import Result
from gainstage.sweep.store import Identity, Store

RATES = (0.1, 0.5, 1.0, 1.9, 2.1, 3.0)
STEPS = (0, 10, 1000)


@dataclass(frozen=True)
class Trivial:
    """What the trivial sweep does on the way.

    Attributes:
        log: Every executed cell's key is appended here.
        seconds: A chunk takes.
        killers: Positions of cells that kill their worker.
        raisers: Positions of cells that raise.
    """

    log: str = ""
    seconds: float = 0.0
    killers: tuple[int, ...] = ()
    raisers: tuple[int, ...] = ()


def cells(count: int) -> tuple[Cell, ...]:
    return tuple(
        Cell(f"{index:05}", {"lr": RATES[index % len(RATES)], "seed": index // len(RATES), "at": index})
        for index in range(count)
    )


def execute(spec: Trivial, cells: Sequence[Cell], *, mode: str = "auto") -> tuple[Row, ...]:
    time.sleep(spec.seconds)
    for cell in cells:
        if cell.values["at"] in spec.killers:
            os.kill(os.getpid(), signal.SIGKILL)
        if cell.values["at"] in spec.raisers:
            raise ArithmeticError(f"cell {cell.values['at']}\nis bad")
    rows = tuple(trained(cell, mode) for cell in cells)
    if spec.log:
        with open(spec.log, "a") as log:
            log.write("".join(f"{cell.key}\n" for cell in cells))
    return rows


def trained(cell: Cell, mode: str) -> Row:
    weight, curve, diverged_at = 1.0 + cell.values["seed"] / 7, [], None
    for step in range(max(STEPS) + 1):
        if step in STEPS:
            curve.append(weight * weight / 2 if diverged_at is None else math.nan)
        if diverged_at is None and abs(weight) > 1e6:
            diverged_at = step
        weight -= cell.values["lr"] * weight
    return Row(cell.key, cell.values, STEPS, {"train_loss": tuple(curve)}, diverged_at, None, mode)


def identity(count: int) -> Identity:
    return Identity("trivial", "name = 'trivial'\nlr = [0.1]", "python=3", "c0de", count)


def sweep(
    folder: Path | str, spec: Trivial, count: int, chunk: int, *, workers: int = 0, tries: int = 2,
    patience: float = 60.0,
) -> Result:  # fmt: skip
    """Runs it to the end; ``workers=0`` in this process."""
    work = Work(execute, spec)
    backend = Local(work, workers) if workers else Inline(work)
    with Store(folder, identity(count), patience=patience) as store:
        try:
            store.lay(("looped", range(start, min(start + chunk, count))) for start in range(0, count, chunk))
            drive(store, backend, cells(count), tries=tries)
        finally:
            backend.close()
    return Result(folder)


def main() -> None:
    """The same from a command line, for tests that kill it."""
    folder, log, seconds, count, chunk, workers = sys.argv[1:]
    sweep(folder, Trivial(log, float(seconds)), int(count), int(chunk), workers=int(workers))
