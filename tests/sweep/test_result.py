"""Results as tables, and in constant memory."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest

from gainstage.errors import InputError
from gainstage.sweep import tables
from gainstage.sweep.cells import Cell, Row
from gainstage.sweep.result import Result
from gainstage.sweep.store import Store
from sweep.trivial import STEPS, Trivial, cells, identity, sweep


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return sweep(tmp_path_factory.mktemp("result"), Trivial(raisers=(7,)), 30, 4)


def test_rows_are_in_the_order_of_the_cells(result):
    assert len(result) == 30
    assert [row.key for row in result] == [cell.key for cell in cells(30)]
    assert result[-6] == result[24]
    with pytest.raises(IndexError, match="index must be below 30, got 30"):
        result[30]
    assert repr(result).endswith("30 of 30 cells, 10 diverged, 1 failed)")


def test_closed_results_open_again(result):
    result.close()
    assert result[0].key == "00000"


def test_flat_rows(result):
    rows = result.to_rows()
    assert list(rows[0]) == [
        "key", "lr", "seed", "at", "steps", "train_loss", "train_loss_curve", "diverged_at", "error", "mode",
    ]  # fmt: skip
    # w ← (1 - 0.1) w, ten times; the loss is w²/2.
    assert rows[0]["train_loss_curve"][1] == pytest.approx(0.9**20 / 2)
    assert rows[0]["train_loss"] == rows[0]["train_loss_curve"][-1]
    assert "train_loss" not in rows[7]
    assert "is bad" in rows[7]["error"]


def test_names_that_are_taken_are_told_apart():
    row = tables.flat(Row("k", {"mode": "reflect", "key": 1, "lr": 0.1}, (0,), {"lr": (2.0,)}, mode="looped"))
    assert (row["mode"], row["value_mode"]) == ("looped", "reflect")
    assert (row["key"], row["value_key"]) == ("k", 1)
    assert (row["lr"], row["value_lr"]) == (2.0, 0.1)


def test_pandas_and_polars_take_the_rows(result):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(result.to_rows())
    assert frame.groupby("lr")["diverged_at"].count().to_dict()[3.0] == 5


def test_parquet_holds_the_same_table(result, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    path = result.to_parquet(tmp_path / "rows.parquet")
    assert list(tmp_path.iterdir()) == [path]
    back = parquet.read_table(path).to_pylist()
    for read, row in zip(back, result.to_rows(), strict=True):
        expected = {name: list(value) if isinstance(value, tuple) else value for name, value in row.items()}
        assert repr({name: value for name, value in read.items() if name in row}) == repr(expected)
    assert (back[7]["train_loss"], back[7]["train_loss_curve"]) == (None, None)


def test_parquet_of_mixed_values(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    rows = [
        Row("a", {"norm": None, "lr": 1, "shape": [1, 2], "flag": True}, diverged_at=None),
        Row("b", {"norm": "batch", "lr": 0.5, "shape": 3, "flag": False}, diverged_at=4),
    ]
    tables.write_parquet(rows, tmp_path / "rows.parquet")
    back = parquet.read_table(tmp_path / "rows.parquet").to_pylist()
    assert [row["norm"] for row in back] == [None, "batch"]
    assert [row["lr"] for row in back] == [1.0, 0.5]
    assert [json.loads(row["shape"]) for row in back] == [[1, 2], 3]
    assert [(row["flag"], row["diverged_at"]) for row in back] == [(True, None), (False, 4)]


def test_parquet_where_it_cannot_be_written(result, tmp_path):
    pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    with pytest.raises(InputError, match="to_parquet: path must be writable"):
        result.to_parquet(tmp_path / "missing" / "rows.parquet")


def test_without_pyarrow_one_is_told_what_to_install(result, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"pip install 'gainstage\[parquet\]'"):
        result.to_parquet(tmp_path / "rows.parquet")


MEASURED = """
import resource, sys
from gainstage.sweep.result import Result
result = Result(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
total = sum(len(row.curves["loss"]) for row in result)
print(total, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, "torch" in sys.modules)
"""


def test_reading_needs_the_memory_of_a_row_and_no_torch(tmp_path):
    """64 MB of rows: what the process gains is what the file's pages take, not the hundreds of MB of floats."""
    curve = tuple(float(step) for step in range(4000))
    planned = [Cell(f"{index:04}", {"at": index}) for index in range(2000)]
    with Store(tmp_path, identity(2000)) as store:
        store.lay(("looped", range(start, start + 100)) for start in range(0, 2000, 100))
        while chunks := store.claim(1):
            rows = [Row(planned[at].key, planned[at].values, (), {"loss": curve}) for at in chunks[0].cells]
            store.record([(chunks[0], rows)])
    size = sum(path.stat().st_size for path in (tmp_path / "shards").iterdir())
    assert size > 60e6
    path = [entry for entry in sys.path if entry]
    told = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = {path!r}\n{MEASURED}", str(tmp_path)],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert (int(told[0]), told[2]) == (2000 * 4000, "False")
    # Floats of their own would take 24 bytes and 8 for the reference: 250 MB.
    assert int(told[1]) * 1024 < 1.5 * size


def test_figures_are_those_of_the_closed_form(result):
    """w_t = (1 - lr)^t w_0, for rates that converge."""
    for row in result:
        rate, seed = row.values["lr"], row.values["seed"]
        if row.error is None and rate < 2:
            expected = [((1 - rate) ** step * (1 + seed / 7)) ** 2 / 2 for step in STEPS]
            assert row.curves["train_loss"] == pytest.approx(expected, rel=1e-9, abs=1e-300)
            assert row.diverged_at is None
        elif row.error is None:
            assert math.isnan(row.curves["train_loss"][-1])
