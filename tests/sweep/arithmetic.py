"""A stand-in for the engine that needs a specification but no network: the trivial sweep's arithmetic."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from gainstage.sweep.cells import Cell, Row
from gainstage.sweep.plans import Chunk, Plan
from gainstage.sweep.spec import Spec
from sweep.trivial import trained

CHUNK = 4


def model(at: int = 0, bad: str | None = None) -> None:
    raise AssertionError("no network is needed")


def data() -> None:
    raise AssertionError("no data is needed")


def execute(spec: Spec, cells: Sequence[Cell], *, mode: str = "auto") -> tuple[Row, ...]:
    for cell in cells:
        if cell.values.get("bad") == "raises":
            raise ArithmeticError("a bad cell")
        if cell.values.get("bad") == "interrupts":
            os.kill(os.getpid(), signal.SIGINT)
    return tuple(trained(cell, mode) for cell in cells)


def plan(spec: Spec, cells: tuple[Cell, ...]) -> Plan:
    parts = [cells[start : start + CHUNK] for start in range(0, len(cells), CHUNK)]
    return Plan(tuple(Chunk(part, "looped", "it is arithmetic", 0.0) for part in parts), workers=1)


def spec(**changes: object) -> Spec:
    fields = {
        "name": "arithmetic", "model": model, "data": data, "steps": 10,
        "axes": {"lr": (0.1, 1.0, 3.0), "seed": range(4)}, **changes,
    }  # fmt: skip
    return Spec(**fields)
