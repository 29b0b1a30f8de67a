import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace

import pytest

from gainstage import lab
from gainstage.errors import StoreError
from gainstage.lab.store import FILE_NAME, Run, SeedResult, Store

RUN = Run("planted", "0123", "quick", "gainstage=0")
CHILD = """
import sys
from gainstage import lab
lab.run("he-variance", store=sys.argv[1], on_progress=lambda done, total: print(done, flush=True))
"""


def stored(folder):
    with sqlite3.connect(folder / FILE_NAME) as connection:
        rows = connection.execute("SELECT seed, seconds FROM seeds ORDER BY seed").fetchall()
    connection.close()
    return rows


def test_a_result_comes_back_as_it_was(tmp_path):
    result = SeedResult([{"seed": 3, "x": 0.1 + 0.2, "name": "σ", "flag": True, "none": None}], 1.5)
    store = Store(tmp_path / "new" / "folder")
    store.put(RUN, 3, result)
    assert store.get(RUN, 3) == result
    assert store.get(RUN, 4) is None
    for changed in ({"claim": "b"}, {"design": "b"}, {"preset": "b"}, {"versions": "b"}):
        assert store.get(replace(RUN, **changed), 3) is None
    store.close()
    reopened = Store(tmp_path / "new" / "folder")
    assert reopened.get(RUN, 3) == result
    reopened.close()


def test_two_may_use_one_store(tmp_path):
    first, second = Store(tmp_path), Store(tmp_path)
    first.put(RUN, 0, SeedResult([], 0.0))
    assert second.get(RUN, 0) == SeedResult([], 0.0)
    second.put(RUN, 1, SeedResult([], 0.0))
    assert first.get(RUN, 1) is not None
    first.close()
    second.close()


def test_a_folder_that_is_a_file_is_one_clear_line(tmp_path):
    path = tmp_path / "taken"
    path.write_text("")
    with pytest.raises(StoreError, match="lab: store must be a folder that can be read and written") as caught:
        lab.run("lemma-4-5", store=path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_database_is_one_clear_line(tmp_path):
    (tmp_path / FILE_NAME).write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match=f"file is not a database.*delete its {FILE_NAME}") as caught:
        lab.run("lemma-4-5", store=tmp_path)
    assert "\n" not in str(caught.value)


def test_rows_that_are_damaged_are_said_so(tmp_path):
    store = Store(tmp_path)
    store.put(RUN, 0, SeedResult([], 0.0))
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("UPDATE seeds SET rows = '[{'")
    connection.close()
    with pytest.raises(StoreError, match="store must be a folder that can be read and written"):
        store.get(RUN, 0)
    store.close()


def test_a_store_that_goes_away_is_said_so(tmp_path):
    store = Store(tmp_path)
    store.close()
    with pytest.raises(StoreError, match="closed database"):
        store.put(RUN, 0, SeedResult([], 0.0))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_run_goes_on_where_it_stopped(tmp_path, verdicts):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
    )
    with child:
        assert [child.stdout.readline().strip() for _ in range(3)] == ["0", "1", "2"]
        # In the midst of the third seed: each takes a third of a second.
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    before = stored(tmp_path)
    assert 2 <= len(before) < 5
    resumed = lab.run("he-variance", store=tmp_path)
    assert stored(tmp_path)[: len(before)] == before
    uninterrupted = verdicts["he-variance"]
    assert replace(resumed, seconds=0.0) == replace(uninterrupted, seconds=0.0)
