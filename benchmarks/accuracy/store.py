"""What was measured, as JSON lines: a run that was stopped goes on where it was."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from accuracy.cases import Case, Extent, digest

Row = dict[str, Any]
Measure = Callable[[Case, int, Extent], Row]
Job = tuple[Case, int]


@dataclass(frozen=True)
class Store:
    """A file of rows, each with its case, seed and the digest of what was measured."""

    path: Path

    def rows(self) -> dict[tuple[str, int, str], Row]:
        if not self.path.exists():
            return {}
        found: dict[tuple[str, int, str], Row] = {}
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                row: Row = json.loads(line)
            except ValueError:
                # The last line of a run that was killed while it wrote.
                continue
            found[row["case"], row["seed"], row["digest"]] = row
        return found

    def filled(self, jobs: Iterable[Job], measure: Measure, extent: Extent, workers: int = 1) -> Mapping[Job, Row]:
        """The row of every job; those that are missing are measured and written first."""
        wanted, there = list(jobs), self.rows()
        missing = [job for job in wanted if _key(job, extent) not in there]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        with self.path.open("a", encoding="utf-8") as file:
            for done, (job, row) in enumerate(_measured(missing, measure, extent, workers), 1):
                case, seed, code = _key(job, extent)
                file.write(json.dumps({"case": case, "seed": seed, "digest": code, **row}) + "\n")
                file.flush()
                left = (time.monotonic() - started) / done * (len(missing) - done)
                print(f"{self.path.stem} {done}/{len(missing)} {case}, {left / 60:.0f} min left", file=sys.stderr)
        there = self.rows()
        return {job: there[_key(job, extent)] for job in wanted}


def _key(job: Job, extent: Extent) -> tuple[str, int, str]:
    case, seed = job
    return case.key, seed, digest(case, extent)


def _measured(jobs: list[Job], measure: Measure, extent: Extent, workers: int) -> Iterator[tuple[Job, Row]]:
    if workers == 1:
        for case, seed in jobs:
            yield (case, seed), measure(case, seed, extent)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        tasks = [pool.submit(measure, case, seed, extent) for case, seed in jobs]
        for job, task in zip(jobs, tasks, strict=True):
            yield job, task.result()
