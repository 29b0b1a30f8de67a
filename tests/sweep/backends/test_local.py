"""Workers that die, cells that raise or kill, and models that print."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gainstage.errors import SweepError
from gainstage.sweep.backends import Inline, Job, Local, Work
from gainstage.sweep.cells import Row
from gainstage.sweep.result import Result
from sweep import trivial
from sweep.trivial import Trivial, cells, execute, sweep


def undisturbed(folder: Path, count: int, chunk: int) -> list[str]:
    return [repr(row) for row in sweep(folder, Trivial(), count, chunk)]


def environment(spec: object, cells: object, *, mode: str) -> tuple[Row, ...]:
    """Prints, and tells of the process in which it runs."""
    print("this must not end up among the outcomes")
    os.write(1, b"nor this")
    values = {"pid": os.getpid(), "threads": os.environ["OMP_NUM_THREADS"]}
    return tuple(Row(cell.key, values) for cell in cells)


def forgetful(spec: object, cells: tuple[object, ...], *, mode: str) -> tuple[Row, ...]:
    return tuple(Row(cell.key, {}) for cell in cells[1:])


def torch_threads(spec: object, cells: object, *, mode: str) -> tuple[Row, ...]:
    import torch

    return tuple(Row(cell.key, {"threads": torch.get_num_threads()}) for cell in cells)


def outcomes(backend, jobs):
    found = []
    try:
        for job in jobs:
            backend.submit(job)
        while len(found) < len(jobs):
            found += backend.wait(10)
    finally:
        backend.close()
    return {outcome.id: outcome for outcome in found}


def test_workers_compute_what_this_process_does(tmp_path):
    found = sweep(tmp_path / "workers", Trivial(), 100, 7, workers=3)
    assert [repr(row) for row in found] == undisturbed(tmp_path / "inline", 100, 7)


def test_a_worker_has_one_thread_and_may_print():
    jobs = [Job(number, cells(2), "looped") for number in range(3)]
    found = outcomes(Local(Work(environment, None), 3), jobs)
    values = [outcome.rows[0].values for outcome in found.values()]
    assert {value["threads"] for value in values} == {"1"}
    assert os.getpid() not in {value["pid"] for value in values}


@pytest.mark.slow
def test_torch_has_one_thread_too():
    (outcome,) = outcomes(Local(Work(torch_threads, None), 1), [Job(0, cells(1), "looped")]).values()
    assert outcome.rows[0].values == {"threads": 1}


@pytest.mark.parametrize("kind", [Inline, lambda work: Local(work, 1)])
def test_rows_that_are_not_those_asked_for_are_a_failure(kind):
    (outcome,) = outcomes(kind(Work(forgetful, None)), [Job(0, cells(3), "looped")]).values()
    assert outcome.rows is None
    assert outcome.failure.startswith("ValueError: execute returned 2 rows that are not those of its 3 cells")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_cell_that_raises_is_found_and_the_others_are_done(tmp_path, workers):
    log = tmp_path / "log"
    result = sweep(tmp_path / "store", Trivial(str(log), raisers=(5, 17)), 24, 8, workers=workers)
    failed = [row for row in result if row.error is not None]
    assert [row.values["at"] for row in failed] == [5, 17]
    assert failed[0].error.startswith("failed 2 times: ArithmeticError: cell 5 is bad (")
    assert (failed[0].curves, "\n" in failed[0].error) == ({}, False)
    assert (result.status.done, result.status.failed) == (24, 2)
    assert sorted(log.read_text().split()) == sorted(cell.key for cell in cells(24) if cell.values["at"] not in (5, 17))
    clean = undisturbed(tmp_path / "clean", 24, 8)
    assert [repr(row) for row in result if row.error is None] == [clean[at] for at in range(24) if at not in (5, 17)]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_cell_that_kills_its_worker_is_found_and_the_others_are_done(tmp_path):
    result = sweep(tmp_path / "store", Trivial(killers=(3,)), 24, 6, workers=2)
    failed = [(row.values["at"], row.error) for row in result if row.error is not None]
    assert failed == [(3, "failed 2 times: its worker died (SIGKILL)")]
    assert result.status.done == 24


def test_tries_are_counted(tmp_path):
    result = sweep(tmp_path / "store", Trivial(raisers=(0,)), 1, 1, tries=5)
    assert result[0].error.startswith("failed 5 times: ")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_worker_is_replaced_and_its_chunk_done_again(tmp_path, monkeypatch):
    pids = tmp_path / "pids"
    started = subprocess.Popen

    def noted(*arguments, **options):
        process = started(*arguments, **options)
        with open(pids, "a") as file:
            file.write(f"{process.pid}\n")
        return process

    monkeypatch.setattr(subprocess, "Popen", noted)
    log = tmp_path / "log"

    def kill_one() -> None:
        while not log.exists():
            time.sleep(0.01)
        os.kill(int(pids.read_text().split()[0]), signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    result = sweep(tmp_path / "store", Trivial(str(log), seconds=0.1), 24, 2, workers=2)
    killer.join()
    assert [repr(row) for row in result] == undisturbed(tmp_path / "clean", 24, 2)
    assert len(pids.read_text().split()) == 3


def test_workers_that_cannot_start_are_told_at_once(tmp_path, monkeypatch):
    # Importable here, but not in a worker.
    monkeypatch.setattr(trivial.execute, "__module__", "nowhere")
    monkeypatch.setitem(sys.modules, "nowhere", trivial)
    with pytest.raises(
        SweepError, match=r"workers must be able to start, got ModuleNotFoundError: .*'nowhere'"
    ) as caught:
        sweep(tmp_path / "store", Trivial(), 100, 1, workers=1)
    assert "\n" not in str(caught.value)
    assert Result(tmp_path / "store").status.running == 0


def test_a_worker_that_dies_while_idle_costs_no_try_and_leaves_no_thread():
    backend = Local(Work(environment, None), 1)
    backend.submit(Job(0, cells(1), "looped"))
    (first,) = backend.wait(20)
    os.kill(first.rows[0].values["pid"], signal.SIGKILL)
    os.waitid(os.P_PID, first.rows[0].values["pid"], os.WEXITED | os.WNOWAIT)
    backend.submit(Job(1, cells(1), "looped"))
    (second,) = backend.wait(20)
    assert second.rows[0].values["pid"] != first.rows[0].values["pid"]
    backend.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "sweep-worker"]


def test_closing_ends_the_workers():
    backend = Local(Work(execute, Trivial(seconds=60)), 2)
    for number in range(2):
        backend.submit(Job(number, cells(1), "looped"))
    assert backend.wait(0.3) == []
    before = time.monotonic()
    backend.close()
    assert time.monotonic() - before < 20
    assert not [thread for thread in threading.enumerate() if thread.name == "sweep-worker"]
