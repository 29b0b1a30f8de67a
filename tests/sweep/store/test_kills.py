"""Real kills at random moments: nothing that was finished is lost, nothing is recorded twice."""

from __future__ import annotations

import collections
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gainstage.sweep.result import Result
from gainstage.sweep.store.shards import FOLDER
from sweep import trivial
from sweep.trivial import Trivial, sweep

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
CELLS, CHUNK = 120, 4
PROGRAM = "from sweep.trivial import main; main()"


def start(folder: Path, log: Path, *, seconds: float = 0.008, workers: int = 0) -> subprocess.Popen[bytes]:
    arguments = [str(folder), str(log), str(seconds), str(CELLS), str(CHUNK), str(workers)]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], env={**os.environ, "PYTHONPATH": path})


def executed(log: Path) -> collections.Counter[str]:
    return collections.Counter(log.read_text().split()) if log.exists() else collections.Counter()


def exact(result: Result) -> list[str]:
    """Every row, to the last bit of every figure, nan too."""
    return [repr(row) for row in result]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return exact(sweep(tmp_path_factory.mktemp("undisturbed"), Trivial(), CELLS, CHUNK))


def killed_until_done(tmp_path: Path, chance: random.Random, *, workers: int, longest: float) -> int:
    """Number of kills that it took; after each, what had a row before still has it."""
    store, log, kills, before = tmp_path / "store", tmp_path / "log", 0, []
    while True:
        child = start(store, log, workers=workers)
        try:
            # Later and later: however slow the machine is today, it gets done.
            assert child.wait(chance.uniform(0.0, longest * (1 + kills / 3))) == 0
            return kills
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        kills += 1
        if (store / FOLDER).exists():
            rows = set(exact(Result(store)))
            assert rows.issuperset(before)
            before = rows
        # A kill costs what was in flight, and nothing else.
        assert executed(log).total() - len(before) <= kills * CHUNK * max(1, workers)


@pytest.mark.parametrize("seed", range(5))
def test_kills_at_any_moment_lose_the_chunk_in_flight_at_most(tmp_path, seed, undisturbed):
    kills = killed_until_done(tmp_path, random.Random(seed), workers=0, longest=0.3)
    assert kills > 0
    assert exact(Result(tmp_path / "store")) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 130))
def test_many_more_kills(tmp_path, seed, undisturbed):
    killed_until_done(tmp_path, random.Random(seed), workers=0, longest=0.3)
    assert exact(Result(tmp_path / "store")) == undisturbed


def test_kills_of_a_driver_with_workers(tmp_path, undisturbed):
    assert killed_until_done(tmp_path, random.Random(7), workers=2, longest=1.0) > 0
    assert exact(Result(tmp_path / "store")) == undisturbed


def test_two_processes_share_a_sweep_and_do_no_cell_twice(tmp_path, undisturbed):
    store, log = tmp_path / "store", tmp_path / "log"
    both = [start(store, log) for _ in range(2)]
    assert [child.wait(30) for child in both] == [0, 0]
    assert executed(log) == collections.Counter(cell.key for cell in trivial.cells(CELLS))
    assert exact(Result(store)) == undisturbed
    assert len(list((store / FOLDER).iterdir())) == 2, "both did some of it"


def test_the_survivor_takes_over_what_a_killed_one_held(tmp_path, undisturbed):
    store, log = tmp_path / "store", tmp_path / "log"
    victim, survivor = start(store, log, seconds=0.08), start(store, log, seconds=0.08)
    while len([shard for shard in (store / FOLDER).glob("*") if shard.stat().st_size]) < 2:
        time.sleep(0.01)  # until both are at work
    victim.kill()
    victim.wait()
    begin = time.perf_counter()
    assert survivor.wait(30) == 0
    # At once, by the lock, and not only when the heartbeat's patience of a minute is over.
    assert time.perf_counter() - begin < 25
    assert executed(log).total() - CELLS <= CHUNK
    assert exact(Result(store)) == undisturbed


def test_one_that_stands_still_loses_its_lease_and_records_nothing_twice(tmp_path, undisturbed):
    store, log = tmp_path / "store", tmp_path / "log"
    sleeper = start(store, log, seconds=0.02)
    while not executed(log):
        time.sleep(0.01)
    sleeper.send_signal(signal.SIGSTOP)
    try:
        result = sweep(store, Trivial(str(log)), CELLS, CHUNK, patience=0.3)
        assert exact(result) == undisturbed
    finally:
        sleeper.send_signal(signal.SIGCONT)
    assert sleeper.wait(30) == 0
    assert exact(Result(store)) == undisturbed
    assert Result(store).status == result.status


def test_an_interrupted_driver_gives_its_leases_back(tmp_path, undisturbed):
    store, log = tmp_path / "store", tmp_path / "log"
    child = start(store, log, seconds=0.05)
    while executed(log).total() < 3 * CHUNK:  # so that the first two are recorded
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    assert child.wait(10) != 0
    status = Result(store).status
    assert 0 < status.done < CELLS
    assert status.running == 0
    assert exact(sweep(store, Trivial(), CELLS, CHUNK)) == undisturbed


def test_a_killed_driver_leaves_no_workers_behind(tmp_path):
    child = start(tmp_path / "store", tmp_path / "log", seconds=5, workers=2)
    workers: list[int] = []
    while len(workers) < 2:
        time.sleep(0.05)
        found = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(child.pid)], capture_output=True, text=True, check=False
        )
        workers = [int(number) for number in found.stdout.split()]
    time.sleep(0.5)
    child.kill()
    child.wait()
    deadline = time.monotonic() + 4
    while any(Path(f"/proc/{number}/cmdline").exists() for number in workers):
        assert time.monotonic() < deadline, "workers outlived their driver"
        time.sleep(0.1)
