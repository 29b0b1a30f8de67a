"""The store's own rules, and its troubles: each is one line that says how to go on."""

from __future__ import annotations

import math
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gainstage.errors import StoreError
from gainstage.sweep.cells import Row
from gainstage.sweep.result import Result
from gainstage.sweep.store import Store
from gainstage.sweep.store.ledger import FILE_NAME, FORMAT, Ledger, Stretch
from gainstage.sweep.store.shards import FOLDER, ShardReader, ShardWriter
from sweep.trivial import Trivial, cells, execute, identity, sweep

HERE = identity(12)


def only_line(caught: pytest.ExceptionInfo[StoreError]) -> str:
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


@pytest.fixture
def done(tmp_path: Path) -> Path:
    """A finished store of 12 cells in chunks of 4."""
    sweep(tmp_path / "done", Trivial(), 12, 4)
    return tmp_path / "done"


def shard(store: Path) -> Path:
    return next((store / FOLDER).iterdir())


figures = st.floats(allow_nan=True, allow_infinity=True)
values = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | figures | st.text()
rows = st.builds(
    Row, st.text(), st.dictionaries(st.text(), values | st.lists(values, max_size=3), max_size=4),
    st.lists(st.integers(0, 10**9), max_size=4).map(tuple),
    st.dictionaries(st.text(), st.lists(figures, max_size=4).map(tuple), max_size=3),
    st.none() | st.integers(0, 10**9), st.none() | st.text(), st.text(),
)  # fmt: skip


@given(chunks=st.lists(st.lists(rows, min_size=1, max_size=4), min_size=1, max_size=3))
def test_rows_come_back_to_the_last_bit(chunks, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shard")
    writer = ShardWriter(folder, "one")
    places = writer.append(chunks)
    writer.close()
    content = (folder / FOLDER / "one.msgpack").read_bytes()
    assert len(content) == places[-1].start + sum(places[-1].lengths)
    reader = ShardReader(folder)
    for number, (chunk, place) in enumerate(zip(chunks, places, strict=True)):
        stretch = Stretch(number, "one", place.start, sum(place.lengths), place.checksum, len(chunk))
        start = place.start
        for row, length in zip(chunk, place.lengths, strict=True):
            assert repr(reader.read(stretch, start, length)) == repr(row)
            start += length
    reader.close()


def test_scalars_of_numpy_are_numbers(tmp_path):
    writer = ShardWriter(tmp_path, "one")
    row = Row("k", {"lr": np.float64(0.1), "n": np.int64(3)}, (0,), {"loss": (np.float32(0.5),)})
    place = writer.append([[row]])[0]
    writer.close()
    reader = ShardReader(tmp_path)
    back = reader.read(Stretch(0, "one", 0, sum(place.lengths), place.checksum, 1), 0, place.lengths[0])
    assert (dict(back.values), dict(back.curves)) == ({"lr": 0.1, "n": 3}, {"loss": (0.5,)})
    reader.close()


def test_a_finished_sweep_is_answered_from_its_store(done, tmp_path):
    before = [repr(row) for row in Result(done)]
    again = sweep(done, Trivial(str(tmp_path / "log")), 12, 4)
    assert [repr(row) for row in again] == before
    assert not (tmp_path / "log").exists()
    assert len(list((done / FOLDER).iterdir())) == 1, "one that did nothing leaves no shard"


def test_the_first_plan_holds(tmp_path):
    with Store(tmp_path, HERE) as first, Store(tmp_path, HERE) as second:
        first.lay([("looped", range(12))], 3)
        second.lay([("vectorised", range(6)), ("vectorised", range(6, 12))], 7)
        assert second.planned() == 3
        (chunk,) = second.claim(5)
        assert (chunk.mode, chunk.cells, chunk.tries) == ("looped", tuple(range(12)), 0)
        assert first.claim(5) == []
        assert not first.finished()


def test_a_lost_lease_records_nothing(tmp_path):
    with Store(tmp_path, HERE, beat=60) as slow, Store(tmp_path, HERE, patience=-1.0) as quick:
        slow.lay([("looped", range(12))])
        (chunk,) = slow.claim(1)
        (taken,) = quick.claim(1)
        assert taken == chunk
        finished = [(chunk, execute(Trivial(), cells(12)))]
        assert slow.record(finished) == 0
        assert not slow.finished()
        assert quick.record(finished) == 12
        assert slow.record(finished) == 0
        assert slow.finished()
    assert len(Result(tmp_path)) == 12


def test_a_live_owner_keeps_its_lease(tmp_path):
    with Store(tmp_path, HERE) as first, Store(tmp_path, HERE) as second:
        first.lay([("looped", range(12))])
        first.claim(1)
        assert [second.claim(1) for _ in range(5)] == [[]] * 5


def test_leaving_gives_back(tmp_path):
    with Store(tmp_path, HERE) as first:
        first.lay([("looped", range(12))])
        first.claim(1)
    with Store(tmp_path, HERE) as second:
        assert len(second.claim(1)) == 1


def test_failures_are_counted_and_halves_start_anew(tmp_path):
    with Store(tmp_path, HERE) as store:
        store.lay([("looped", range(5))])
        (chunk,) = store.claim(1)
        store.give_back(chunk, failed=True)
        (chunk,) = store.claim(1)
        assert chunk.tries == 1
        store.give_back(chunk, failed=False)
        (chunk,) = store.claim(1)
        assert chunk.tries == 1
        store.halve(chunk)
        assert [(half.cells, half.tries, half.mode) for half in store.claim(9)] == [
            ((0, 1), 0, "looped"), ((2, 3, 4), 0, "looped"),
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"specification": "name = 'trivial'\nlr = [0.2]", "hash": "beef"},
            r"specification is lr = \[0.2\], got lr = \[0.1\]",
        ),
        ({"versions": "python=4"}, "set of versions is python=4, got python=3"),
        ({"hash": "beef"}, r"code \(model, data or loss\) is beef, got c0de"),
        ({"specification": "name = 'trivial'", "cells": 13, "hash": "beef"}, "specification is 13 cells, got 12 cells"),
    ],
)
def test_what_is_not_the_same_is_told_and_not_mixed(done, change, told):
    with pytest.raises(StoreError, match=told) as caught:
        Store(done, replace(HERE, **change))
    assert "choose another --store, or take the change back" in only_line(caught)
    assert Result(done).status.complete


def test_code_that_was_moved_is_the_same(done):
    with Store(done, replace(HERE, specification="model = 'elsewhere.py:mlp'")) as store:
        assert store.finished()


def test_without_resume_a_store_must_be_new(done, tmp_path):
    with pytest.raises(StoreError, match="store must be new without resume") as caught:
        Store(done, HERE, resume=False)
    only_line(caught)
    with Store(tmp_path / "new" / "folder", HERE, resume=False) as store:
        assert store.planned() is None


def test_a_newer_format_is_left_alone(done):
    database = sqlite3.connect(done / FILE_NAME)
    database.execute(f"PRAGMA user_version = {FORMAT + 1}")
    database.close()
    for opened in (lambda: Store(done, HERE), lambda: Result(done)):
        with pytest.raises(StoreError, match=rf"have format {FORMAT}, got {FORMAT + 1}.*Update gainstage") as caught:
            opened()
        only_line(caught)


def test_no_store_is_told(tmp_path):
    with pytest.raises(StoreError, match=r"must hold a sweep, got none .*gainstage sweep run SPEC --store") as caught:
        Result(tmp_path)
    only_line(caught)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(StoreError, match="store must be a folder") as caught:
        Store(tmp_path / "taken", HERE)
    only_line(caught)


def test_a_ledger_that_is_none(tmp_path):
    (tmp_path / FILE_NAME).write_bytes(b"not a database " * 100)
    for opened in (lambda: Store(tmp_path, HERE), lambda: Result(tmp_path)):
        with pytest.raises(StoreError, match=r"sound ledger.*not a database.*Restore") as caught:
            opened()
        only_line(caught)


def test_a_truncated_shard_is_told_and_mended(done, tmp_path):
    before = [repr(row) for row in Result(done)]
    whole = shard(done).stat().st_size
    os.truncate(shard(done), whole - 10)
    told = rf"shard must be whole, got {whole - 10} of {whole} bytes .*sweep resume {done} --mend runs its 4 lost cells"
    with pytest.raises(StoreError, match=told) as caught:
        Store(done, HERE)
    only_line(caught)
    with pytest.raises(StoreError, match=told):
        list(Result(done))
    with Store(done, HERE, mend=True) as store:
        assert store.status().done == 8
    log = tmp_path / "log"
    assert [repr(row) for row in sweep(done, Trivial(str(log)), 12, 4)] == before
    assert log.read_text().split() == [cell.key for cell in cells(12)[8:]]


def test_a_missing_shard_is_told_and_mended(done):
    shard(done).unlink()
    with pytest.raises(StoreError, match=r"shard must be whole, got none .*12 lost cells") as caught:
        Store(done, HERE)
    only_line(caught)
    with pytest.raises(StoreError, match="shard must be whole, got none"):
        Result(done)[0]
    with Store(done, HERE, mend=True) as store:
        assert store.status().done == 0


def test_changed_bytes_are_told_when_read_and_mended(done):
    content = bytearray(shard(done).read_bytes())
    content[5] ^= 1
    shard(done).write_bytes(content)
    result = Result(done)
    with pytest.raises(StoreError, match=r"other bytes than were written .*4 lost cells") as caught:
        result[0]
    only_line(caught)
    assert result[11].key == cells(12)[11].key, "the others can be read"
    with Store(done, HERE, mend=True) as store:
        assert store.status().done == 8


UNPRIVILEGED = """
import os, sys
from sweep.trivial import identity
from gainstage.errors import StoreError
from gainstage.sweep.store import Store
from gainstage.sweep.result import Result
# Only now: the interpreter itself may lie where others cannot look.
os.setgid(65534); os.setuid(65534)
print(len(Result(sys.argv[1])))
try:
    with Store(sys.argv[1], identity(12)):
        pass
except StoreError as error:
    print(error)
"""


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="needs another user to turn to")
def test_a_folder_that_cannot_be_written_can_be_read(done):
    # Under /tmp itself, whose parents everyone may enter.
    place = Path("/tmp") / f"gainstage-readonly-{os.getpid()}"
    shutil.copytree(done, place)
    try:
        for path in (place, *place.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        path = os.pathsep.join(entry for entry in sys.path if entry)
        told = subprocess.run(
            [sys.executable, "-c", UNPRIVILEGED, str(place)], env={**os.environ, "PYTHONPATH": path},
            capture_output=True, text=True, check=True,
        ).stdout.splitlines()  # fmt: skip
    finally:
        shutil.rmtree(place)
    assert told[0] == "12"
    assert "store must be readable and writable" in told[1]
    assert "Choose another --store, or mend its permissions" in told[1]


def full_disk(limit: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


@pytest.mark.parametrize("limit", [60_000, 150_000, 300_000])
def test_a_full_disk_is_told_and_nothing_is_lost(tmp_path, limit):
    """A limit on the size of files makes writing fail as a full disk does: in the ledger, its log or a shard."""
    arguments = [str(tmp_path / "store"), str(tmp_path / "log"), "0", "3000", "4", "0"]
    program = "from sweep.trivial import main; main()"
    path = os.pathsep.join(entry for entry in sys.path if entry)
    child = subprocess.run(
        [sys.executable, "-c", program, *arguments], env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, check=False, preexec_fn=lambda: full_disk(limit),
    )  # fmt: skip
    assert child.returncode == 1
    last = child.stderr.splitlines()[-1]
    assert last.startswith("gainstage.errors.StoreError: sweep: store must")
    assert "then go on with gainstage sweep resume" in last
    result = sweep(tmp_path / "store", Trivial(), 3000, 4)
    assert result.status.complete
    assert [row.key for row in result] == [cell.key for cell in cells(3000)]


def test_a_result_shows_the_moment_it_was_opened(tmp_path):
    with Store(tmp_path, HERE) as store:
        store.lay([("looped", range(6)), ("looped", range(6, 12))])
        first, second = store.claim(2)
        # Out of order: rows come in the order of the cells all the same.
        store.record([(second, execute(Trivial(), cells(12)[6:]))])
        half = Result(tmp_path)
        store.record([(first, execute(Trivial(), cells(12)[:6]))])
    assert [row.values["at"] for row in half] == [6, 7, 8, 9, 10, 11]
    assert (half.status.done, half.status.running, half.status.complete) == (6, 6, False)
    assert [row.values["at"] for row in Result(tmp_path)] == list(range(12))


def test_the_ledger_counts_what_diverged_and_failed(done):
    ledger = Ledger(done, readonly=True)
    status = ledger.status()
    ledger.close()
    assert (status.name, status.cells, status.done, status.failed, status.running) == ("trivial", 12, 12, 0, 0)
    # |1 - lr| > 1 grows without bound, for rates of 2.1 and 3.
    assert status.diverged == 4
    assert all(math.isnan(row.curves["train_loss"][-1]) == (row.diverged_at is not None) for row in Result(done))
