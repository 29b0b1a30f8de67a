"""Chunks over processes: the same rows, whatever happens to the workers."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from gainstage.sweep import Cell, Chunk, Plan, Row, Spec, execute, plan
from gainstage.sweep.engine.processes import run_spread
from sweep_twins import difference, spec_of

TESTS = Path(__file__).parents[2]


def interrupted(_spec: Spec, _cells: Sequence[Cell], **_options: object) -> tuple[Row, ...]:
    raise KeyboardInterrupt


def in_chunks(spec: Spec, size: int, workers: int) -> Plan:
    cells = spec.cells()
    parts = [cells[at : at + size] for at in range(0, len(cells), size)]
    return Plan(tuple(Chunk(part, "looped", "", 1.0) for part in parts), workers)


@pytest.mark.slow
def test_rows_of_processes_equal_those_of_this_one() -> None:
    spec = spec_of(
        "mlp", axes={"lr": (0.01, 1e300), "seed": range(4), "norm": ("batch", "none")}, fixed={"dropout": 0.1}
    )
    counts: list[int] = []
    rows = execute(spec, spec.cells(), mode="processes", progress=counts.append)
    assert difference(rows, execute(spec, spec.cells(), mode="looped")) <= 1e-10
    assert sum(counts) == len(rows) == 16


@pytest.mark.slow
def test_a_worker_that_dies_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # In a worker the network ends the process; here it is built.
    monkeypatch.setenv("SWEEP_PARENT", str(os.getpid()))
    spec = spec_of("lethal", axes={"seed": range(40)}, fixed={"fatal": True}, steps=150)
    died: list[int] = []
    rows = run_spread(spec, in_chunks(spec, 1, 3), execute, died.append)
    assert {row.key for row in rows} == {cell.key for cell in spec.cells()}
    assert [row.error for row in rows] == [None] * 40
    assert sum(died) == 40


def test_without_other_workers_none_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise AssertionError

    monkeypatch.setattr(subprocess, "Popen", refuse)
    spec = spec_of("mlp", axes={"seed": range(4)}, steps=2)
    rows = run_spread(spec, in_chunks(spec, 2, 1), execute, None)
    assert len(rows) == 4
    assert len(execute(spec, spec.cells())) == 4


def test_an_error_here_ends_the_workers_and_is_raised() -> None:
    spec = spec_of("mlp", axes={"seed": range(4)}, steps=2)
    with pytest.raises(KeyboardInterrupt):
        run_spread(spec, in_chunks(spec, 1, 2), interrupted, None)
    assert not [thread for thread in threading.enumerate() if thread.name == "sweep-worker"]


@pytest.mark.slow
def test_a_script_without_a_guard_can_use_processes(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from gainstage.sweep import execute\n"
        "from gainstage.sweep.examples import blobs_spec\n"
        "spec = blobs_spec(axes={'seed': range(6)}, steps=5)\n"
        "print(len(execute(spec, spec.cells(), mode='processes')))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment, check=True)
    assert run.stdout == "6\n"


def test_plans_spread_large_work_and_keep_small_work_here(monkeypatch: pytest.MonkeyPatch) -> None:
    from gainstage.sweep import execution

    monkeypatch.setattr(execution, "_cores", lambda: 3)
    small = spec_of("mlp", axes={"seed": range(6)}, steps=2)
    assert plan(small, small.cells()).workers == 1
    assert plan(small, small.cells(), workers=2).workers == 2
    large = spec_of("mlp", axes={"seed": range(48)}, steps=10**6)
    found = plan(large, large.cells())
    assert found.workers == 3
    assert len(found.chunks) >= 2 * 3
    assert sorted(cell.key for chunk in found.chunks for cell in chunk.cells) == sorted(c.key for c in large.cells())
