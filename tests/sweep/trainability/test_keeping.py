"""The runs of a map on disk: no kill, full disk or second process loses, mixes or tears one."""

from __future__ import annotations

import resource
import shutil
import sqlite3
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gainstage.errors import StoreError
from gainstage.sweep.trainability import keeping
from gainstage.sweep.trainability.keeping import FILE_NAME, Keeping, KeptRun
from gainstage.sweep.trainability.records import MapCell

HERE = {"number of steps": "10", "model's fingerprint": "c0de"}


def run(number: int) -> KeptRun:
    lost = number % 3 == 2
    cell = MapCell("as-is", 0.1 * number, 1 / 3, 2.3 + number, None if lost else 0.1, number if lost else None)
    return KeptRun(cell, 0.1, 0.1 * number)


@contextmanager
def full_disk(limit: int) -> Generator[None]:
    """A limit on the size of files makes writing fail as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_runs_come_back_to_the_last_bit_and_in_order(tmp_path: Path) -> None:
    runs = [run(number) for number in (3, 1, 2, 5)]
    with Keeping(tmp_path / "new" / "folder", HERE) as store:
        for kept in runs[:2]:
            store.keep(kept)
    with Keeping(tmp_path / "new" / "folder", HERE) as store:
        for kept in runs[2:]:
            store.keep(kept)
        assert store.runs() == runs
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == [FILE_NAME]


@pytest.mark.parametrize("cut", [0, 1, 30, 4_000, 4_120, 9_000, 40_000])
def test_what_a_kill_tears_is_the_end_alone(tmp_path: Path, cut: int) -> None:
    runs = [run(number) for number in range(12)]
    with Keeping(tmp_path / "store", HERE) as store:
        for kept in runs:
            store.keep(kept)
        # What a kill leaves: the files as they are while the store is open.
        shutil.copytree(tmp_path / "store", tmp_path / "copy")
    log = tmp_path / "copy" / f"{FILE_NAME}-wal"
    with log.open("r+b") as file:
        file.truncate(max(0, log.stat().st_size - cut))
    with Keeping(tmp_path / "copy", HERE) as store:
        found = store.runs()
        assert found == runs[: len(found)]
        # A run takes a page of the log and its head, at least.
        assert 12 - len(found) <= -(-cut // 4_120)
        for kept in runs[len(found) :]:
            store.keep(kept)
        assert store.runs() == runs


def test_a_store_of_another_map_is_refused_and_left_alone(tmp_path: Path) -> None:
    with Keeping(tmp_path, HERE) as store:
        store.keep(run(1))
    line = "map: store must belong to this map, whose number of steps is 20, got 10 .* Results are not mixed"
    with pytest.raises(StoreError, match=line):
        Keeping(tmp_path, HERE | {"number of steps": "20"})
    with pytest.raises(StoreError, match="whose model's fingerprint is beef, got c0de"):
        Keeping(tmp_path, HERE | {"model's fingerprint": "beef"})
    with Keeping(tmp_path, HERE) as store:
        assert store.runs() == [run(1)]


def test_a_store_of_a_later_format_is_refused(tmp_path: Path) -> None:
    Keeping(tmp_path, HERE).__exit__(None, None, None)
    database = sqlite3.connect(tmp_path / FILE_NAME)
    database.execute("PRAGMA user_version=9")
    database.close()
    with pytest.raises(StoreError, match="map: store must have format 1, got 9, of a newer gainstage"):
        Keeping(tmp_path, HERE)


def test_one_process_has_it_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "PATIENCE", 0.05)
    with Keeping(tmp_path, HERE) as store:
        with pytest.raises(StoreError, match="map: store must be free, got database is locked"):
            Keeping(tmp_path, HERE)
        store.keep(run(1))
    with Keeping(tmp_path, HERE) as store:
        assert store.runs() == [run(1)]


@pytest.mark.parametrize("limit", [100, 9_000, 60_000])
def test_a_full_disk_is_told_and_what_is_kept_stays(tmp_path: Path, limit: int) -> None:
    kept: list[KeptRun] = []

    def fill() -> None:
        with Keeping(tmp_path, HERE) as store:
            for number in range(500):
                store.keep(run(number))
                kept.append(run(number))

    with full_disk(limit), pytest.raises(StoreError, match=r"map: store must .* then go on with the same command"):
        fill()
    assert bool(kept) == (limit == 60_000)
    with Keeping(tmp_path, HERE) as store:
        assert store.runs() == kept
        store.keep(run(501))


def test_places_that_cannot_hold_a_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="map: store must be a folder"):
        Keeping(tmp_path / "file", HERE)
    (tmp_path / FILE_NAME).write_bytes(b"something else, and long enough for a header" * 99)
    with pytest.raises(StoreError, match=r"map: store must have a sound ledger, .* Restore map.sqlite3 from a copy"):
        Keeping(tmp_path, HERE)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder that root cannot write to")
def test_a_folder_that_cannot_be_written_is_told() -> None:
    with pytest.raises(StoreError, match=r"map: store must be readable and writable, .* mend its permissions"):
        Keeping("/proc/self/kept", HERE)
