"""What never losing a sweep costs: scheduling, leases, shards and ledger, around a training that costs nothing.

    python benchmarks/sweep_overhead.py [--repeats N]

Three questions, each with its alternative in the same run, all repetitions interleaved:

1. Cost of a cell from a hundred to a hundred thousand cells, against a bare loop that keeps rows in a list.
2. One appended shard against a file for each chunk, written beside and replaced into place.
3. A sweep of two workers whose chunks take a known time, against that time.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec

from gainstage.sweep.backends import Backend, Inline, Local, Work
from gainstage.sweep.cells import Cell, Row
from gainstage.sweep.drive import drive
from gainstage.sweep.result import Result
from gainstage.sweep.store import Identity, Store
from gainstage.sweep.store.shards import ShardWriter

CHUNK = 64
STEPS = tuple(range(0, 101, 10))


def execute(spec: float, cells: Sequence[Cell], *, mode: str) -> tuple[Row, ...]:
    """Rows of the usual size; takes ``spec`` seconds besides."""
    time.sleep(spec)
    curve = tuple(1 / (1 + step) for step in STEPS)
    curves = {"train_loss": curve, "test_loss": curve, "test_accuracy": curve}
    return tuple(Row(cell.key, cell.values, STEPS, curves, None, None, mode) for cell in cells)


def grid(count: int) -> tuple[Cell, ...]:
    return tuple(Cell(f"{index:016x}", {"lr": 0.1, "scale": 1.0, "seed": index}) for index in range(count))


def chunks(count: int) -> list[range]:
    return [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]


def swept(cells: tuple[Cell, ...], backend: Callable[[], Backend]) -> float:
    """Seconds from the plan to the last row on disk; the store is made before, which takes as long for any size."""
    with tempfile.TemporaryDirectory() as folder:
        with Store(folder, Identity("overhead", "", "", "", len(cells))) as store:
            start = time.perf_counter()
            store.lay(("looped", chunk) for chunk in chunks(len(cells)))
            chosen = backend()
            try:
                drive(store, chosen, cells)
            finally:
                chosen.close()
            seconds = time.perf_counter() - start
        assert Result(folder).status.complete
    return seconds


def listed(cells: tuple[Cell, ...]) -> float:
    start = time.perf_counter()
    rows: list[Row] = []
    for chunk in chunks(len(cells)):
        rows += execute(0.0, [cells[at] for at in chunk], mode="looped")
    return time.perf_counter() - start


def cost_of_a_cell(repeats: int) -> None:
    sizes = (100, 1_000, 10_000, 100_000)
    found: dict[int, list[tuple[float, float]]] = {size: [] for size in sizes}
    for _ in range(repeats):
        for size in sizes:
            cells = grid(size)
            found[size].append((swept(cells, lambda: Inline(Work(execute, 0.0))) / size, listed(cells) / size))
    reference = statistics.median(kept for kept, _ in found[1_000])
    print("cells    us a cell   of that at 1000   us a cell in a list")
    for size, pairs in found.items():
        kept, bare = (statistics.median(side) for side in zip(*pairs, strict=True))
        print(f"{size:>6}   {kept * 1e6:9.1f}   {kept / reference:15.2f}   {bare * 1e6:19.1f}")


def memory() -> None:
    """Peak of Python's memory while the driver runs, beyond that of the cells themselves."""
    peaks: dict[int, float] = {}
    for size in (10_000, 100_000):
        cells = grid(size)
        tracemalloc.start()
        swept(cells, lambda: Inline(Work(execute, 0.0)))
        peaks[size] = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
    rows = len(msgspec.msgpack.encode(execute(0.0, grid(1), mode="looped")[0])) * 100_000 / 1e6
    ends = " and ".join(f"{peak:.1f} MB at {size} cells" for size, peak in peaks.items())
    print(f"driver's peak: {ends}; all rows would be {rows:.0f} MB even when packed")


def files(folder: Path, parts: Sequence[Sequence[Row]]) -> None:
    directory = os.open(folder, os.O_RDONLY)
    for number, rows in enumerate(parts):
        beside = folder / f"{number}.tmp"
        with open(beside, "wb") as file:
            file.write(b"".join(msgspec.msgpack.encode(row) for row in rows))
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, folder / str(number))
        os.fsync(directory)
    os.close(directory)


def appended(folder: Path, parts: Sequence[Sequence[Row]]) -> None:
    writer = ShardWriter(folder, "one")
    for rows in parts:
        writer.append([rows])
    writer.close()


def shard_against_files(repeats: int) -> None:
    parts = [execute(0.0, grid(CHUNK), mode="looped")] * 200
    ratios: list[float] = []
    for _ in range(repeats):
        seconds: list[float] = []
        for write in (appended, files):
            with tempfile.TemporaryDirectory() as folder:
                start = time.perf_counter()
                write(Path(folder), parts)
                seconds.append(time.perf_counter() - start)
        ratios.append(seconds[1] / seconds[0])
    told = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    print(f"a file for each chunk takes {told} times as long as one appended shard")


def overhead(repeats: int) -> None:
    """Of a sweep of two workers: sleeping leaves the cores idle, so that what is measured is waiting, not sharing."""
    for seconds, count in ((0.1, 80), (0.5, 20)):
        cells = grid(CHUNK * count)
        ratios: list[float] = []
        for _ in range(repeats):
            warm = swept(cells[: 2 * CHUNK], partial(Local, Work(execute, seconds), 2))
            full = swept(cells, partial(Local, Work(execute, seconds), 2))
            # The difference of two sweeps: the start of the workers, which each has once, falls out.
            ratios.append((full - warm) / (seconds * (count - 2) / 2) - 1)
        told = f"{statistics.median(ratios):.2%} ({min(ratios):.2%} to {max(ratios):.2%})"
        print(f"overhead of a sweep with chunks of {seconds} s on two workers: {told}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    cost_of_a_cell(repeats)
    memory()
    shard_against_files(repeats)
    overhead(repeats)


if __name__ == "__main__":
    # Workers find functions by their module's name, which here is __main__.
    importlib.import_module("sweep_overhead").main()
