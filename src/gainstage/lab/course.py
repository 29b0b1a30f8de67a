"""The course of a run: from jobs to results, on any backend. What is finished is stored at once, by one process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from gainstage.lab.claim import Design
from gainstage.lab.conclusions import Measured, Result, concluded, kind_of, not_run, unmeasured
from gainstage.lab.fingerprint import fingerprint
from gainstage.lab.published_verdicts import published
from gainstage.lab.seeds import Experiment, Missing, SeedJob, SeedWork, versions
from gainstage.lab.store import Run, SeedResult, Store
from gainstage.sweep.backends import Backend

# How often a seed may fail, by an exception or its worker's death, before its experiment is called not measurable.
_TRIES = 2


class StartsBackend(Protocol):
    """Gives the backend that computes some work."""

    def __call__(self, work: SeedWork) -> Backend:
        """Starts it."""
        ...


@dataclass(frozen=True)
class Watch:
    """Who is told of (seeds done, seeds in all), and of results."""

    on_progress: Callable[[int, int], None] | None = None
    on_result: Callable[[Result], None] | None = None


@dataclass
class Entry:
    """An experiment on its way: what is known of each of its seeds."""

    experiment: Experiment
    design: Design
    preset: str
    seeds: tuple[int, ...]
    key: Run
    found: dict[int, SeedResult] = field(default_factory=dict[int, SeedResult])

    @property
    def missing(self) -> list[int]:
        """The seeds that are still to be measured."""
        return [seed for seed in self.seeds if seed not in self.found]

    def record(self) -> Measured:
        """What is measured so far, for a result."""
        results = [self.found[seed] for seed in self.seeds if seed in self.found]
        rows = tuple(row for result in results for row in result.rows)
        seconds = sum(result.seconds for result in results)
        return Measured(self.experiment, self.design, self.preset, self.seeds, self.key.design, rows, seconds)


class Course:
    """All experiments of one run, from their stored seeds to their results."""

    def __init__(self, preset: str, store: Store | None, watch: Watch) -> None:
        self._preset, self._store, self._watch = preset, store, watch
        self._entries: dict[str, Entry] = {}
        self._tries: dict[SeedJob, int] = {}
        self.results: dict[str, Result] = {}

    def enter(self, experiment: Experiment, seeds: Callable[[int], tuple[int, ...]]) -> None:
        """Takes an experiment on, with the seeds that the store has.

        Args:
            experiment: A claim or a confrontation.
            seeds: Gives those to run, for the number that the design asks for.
        """
        if self._preset not in experiment.designs:
            has = ", ".join(experiment.designs) or "none"
            reason = (experiment.absent or {}).get(self._preset, "")
            why = f"There is no preset {self._preset!r} for it; it has {has}. {reason}".rstrip()
            self._settle(not_run(experiment, self._preset, why))
            return
        design = experiment.designs[self._preset]
        key = Run(experiment.id, fingerprint(experiment, design), self._preset, _spelled(versions()))
        entry = self._entries[experiment.id] = Entry(experiment, design, self._preset, seeds(design.seeds), key)
        if self._store:
            known = {seed: self._store.get(key, seed) for seed in entry.seeds}
            entry.found.update({seed: result for seed, result in known.items() if result})

    def run(self, work: SeedWork, start: StartsBackend) -> None:
        """Computes what is missing, and judges each experiment as soon as its last seed is there."""
        self._told()
        for entry in list(self._entries.values()):
            self._judge_if_whole(entry)
        waiting = deque(_jobs(list(self._entries.values())))
        if not waiting:
            return
        backend = start(work)
        busy: dict[int, SeedJob] = {}
        try:
            while waiting or busy:
                while waiting and len(busy) < backend.slots:
                    job = waiting.popleft()
                    if job.experiment not in self.results:
                        busy[job.id] = job
                        backend.submit(job)
                for outcome in backend.wait(1.0) if busy else ():
                    job = busy.pop(outcome.id)
                    if not self._take(job, outcome.rows, outcome.failure):
                        waiting.append(job)
        finally:
            backend.close()

    def _take(self, job: SeedJob, rows: list[Any] | None, failure: str) -> bool:
        """Notes what came of a job; False: it is to be tried again."""
        entry = self._entries[job.experiment]
        if job.experiment in self.results:  # another seed has settled it
            return True
        if rows is None:
            self._tries[job] = self._tries.get(job, 0) + 1
            if self._tries[job] < _TRIES:
                return False
            why = f"It could not be measured: seed {job.seed} failed {_TRIES} times, {failure}."
            self._settle(unmeasured(entry.record(), why))
        elif isinstance(rows[0], Missing):
            self._settle(not_run(entry.experiment, self._preset, rows[0].reason))
        else:
            self._keep(entry, job.seed, rows[0])
        return True

    def _keep(self, entry: Entry, seed: int, result: SeedResult) -> None:
        entry.found[seed] = result
        if self._store:
            self._store.put(entry.key, seed, result)
        self._told()
        self._judge_if_whole(entry)

    def _judge_if_whole(self, entry: Entry) -> None:
        if not entry.missing:
            self._settle(concluded(entry.record()))

    def _settle(self, result: Result) -> None:
        self.results[result.id] = result
        if self._store:
            self._store.put_result(kind_of(result), result.id, result.preset, result.to_json())
        if self._watch.on_result:
            self._watch.on_result(result)

    def _told(self) -> None:
        if self._watch.on_progress:
            entries = self._entries.values()
            self._watch.on_progress(sum(len(e.found) for e in entries), sum(len(e.seeds) for e in entries))


def _jobs(entries: Sequence[Entry]) -> list[SeedJob]:
    """What is to be computed, the longest first, so that all workers end together."""
    costs = {name: verdict.seconds / max(1, len(verdict.seeds)) for name, verdict in published().items()}
    ordered = sorted(entries, key=lambda entry: -costs.get(entry.experiment.id, 0.0))
    wanted = [(entry.experiment.id, seed) for entry in ordered for seed in entry.missing]
    return [SeedJob(number, name, seed) for number, (name, seed) in enumerate(wanted)]


def _spelled(found: dict[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(found.items()))
