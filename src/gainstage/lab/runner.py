"""Runs claims: every seed, then the control's judge, then the claim's. No outcome ends a run early.

A run is a list of jobs, one for each claim and seed, that any backend of `gainstage.sweep` computes in any order; what
is finished is stored at once, by this process alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from gainstage.errors import InputError, UnknownNameError
from gainstage.lab.catalogue import CLAIMS, find
from gainstage.lab.claim import PRESETS, Claim, Design
from gainstage.lab.fingerprint import fingerprint
from gainstage.lab.judge import Row, with_control
from gainstage.lab.published import published
from gainstage.lab.seeds import Missing, SeedJob, SeedWork, device_name, versions
from gainstage.lab.store import Run, SeedResult, Store
from gainstage.lab.verdict import ControlResult, Verdict
from gainstage.sweep.backends import Backend, Inline, Local, Ray

Progress = Callable[[int, int], None]
OnVerdict = Callable[[Verdict], None]
BACKENDS = ("local", "ray", "inline")
# How often a seed may fail, by an exception or its worker's death, before its claim is called not measurable.
_TRIES = 2


class StartsBackend(Protocol):
    """Gives the backend that computes some work."""

    def __call__(self, work: SeedWork) -> Backend:
        """Starts it."""
        ...


def run(
    claim_id: str,
    *,
    preset: str = "quick",
    seeds: int | Sequence[int] | None = None,
    store: str | Path | None = None,
    on_progress: Progress | None = None,
) -> Verdict:
    """Measures a claim anew, in this process, and judges it.

    Args:
        claim_id: One of `gainstage.lab.claims()`.
        preset: ``quick`` (seconds to a minute on one core) or ``full``.
        seeds: How many, or which; by default as many as the design asks for, from 0. Fewer than that leave an
            averaged effect inconclusive.
        store: A folder in which finished seeds are kept; an equal run is answered from it, a run that was
            killed goes on where it stopped.
        on_progress: Called with (seeds done, seeds in all) after each seed.

    Returns:
        The verdict; ``not-run``, with the reason, if the claim has no such preset or its data is not there.

    Raises:
        UnknownNameError: if there is no such claim or preset; the nearest is suggested.
        InputError: if ``seeds`` names no seed, or one twice.
        StoreError: if the store cannot be read or written.

    Example:
        >>> run("lemma-4-5").outcome
        'refuted'
    """
    return run_all([claim_id], preset=preset, seeds=seeds, store=store, backend="inline", on_progress=on_progress)[0]


def run_all(
    claim_ids: Sequence[str] | None = None,
    *,
    preset: str = "quick",
    seeds: int | Sequence[int] | None = None,
    base_seed: int = 0,
    store: str | Path | None = None,
    backend: str = "local",
    workers: int | None = None,
    address: str | None = None,
    on_progress: Progress | None = None,
    on_verdict: OnVerdict | None = None,
) -> tuple[Verdict, ...]:
    """Measures several claims, many seeds at a time, and judges each.

    Args:
        claim_ids: Which; all by default.
        preset: ``quick`` or ``full``.
        seeds: As for `run`, of every claim.
        base_seed: Added to every seed: the same experiments with other draws.
        store: A folder that keeps finished seeds and verdicts. Whatever ends the run, at most the seeds in flight are
            lost, and the same call goes on.
        backend: ``local``, one process of one thread for each core; ``ray``; ``inline``, in this process.
        workers: How many seeds at a time; all cores by default.
        address: Of a running Ray cluster; None starts one on this machine.
        on_progress: Called with (seeds done, seeds in all).
        on_verdict: Called with each verdict as soon as it is reached.

    Returns:
        One verdict a claim, in the order of the ids. Equal seeds give equal verdicts, on every backend, for the
        versions and the kind of processor that stand in them.

    Raises:
        UnknownNameError: if there is no such claim, preset or backend.
        InputError: if ``seeds`` names no seed, or one twice; if Ray is not installed.
        StoreError: if the store cannot be read or written.
        SweepError: if workers cannot start, or the cluster cannot be reached.
    """
    wanted = [claim.id for claim in CLAIMS] if claim_ids is None else claim_ids
    chosen = [find(claim_id, "lab run") for claim_id in dict.fromkeys(wanted)]
    if preset not in PRESETS:
        raise UnknownNameError("lab run", "preset", preset, PRESETS)
    if backend not in BACKENDS:
        raise UnknownNameError("lab run", "backend", backend, BACKENDS)
    starts: dict[str, StartsBackend] = {
        "local": partial(Local, workers=workers),
        "ray": partial(Ray, workers=workers, address=address),
        "inline": Inline,
    }
    work = SeedWork(preset, partial(find, operation="lab run"))
    watch = Watch(on_progress, on_verdict)
    return run_claims(chosen, work, starts[backend], seeds=seeds, base_seed=base_seed, store=store, watch=watch)


def run_claim(
    claim: Claim[Any], *, preset: str = "quick", seeds: int | Sequence[int] | None = None,
    store: str | Path | None = None, on_progress: Progress | None = None,
) -> Verdict:  # fmt: skip
    """`run`, for a claim that need not be in the catalogue."""
    work = SeedWork(preset, {claim.id: claim}.__getitem__)
    return run_claims([claim], work, Inline, seeds=seeds, store=store, watch=Watch(on_progress))[0]


@dataclass(frozen=True)
class Watch:
    """Who is told of seeds and verdicts."""

    on_progress: Progress | None = None
    on_verdict: OnVerdict | None = None


def run_claims(
    claims: Sequence[Claim[Any]], work: SeedWork, start: StartsBackend, *, seeds: int | Sequence[int] | None = None,
    base_seed: int = 0, store: str | Path | None = None, watch: Watch,
) -> tuple[Verdict, ...]:  # fmt: skip
    """`run_all`, of given claims on a backend that is started here."""
    with nullcontext() if store is None else closing(Store(store)) as opened:
        course = _Course(work.preset, opened, watch)
        for claim in claims:
            course.enter(claim, seeds, base_seed)
        course.run(work, start)
        return tuple(course.verdicts[claim.id] for claim in claims)


@dataclass
class _Entry:
    """A claim on its way: what is known of each of its seeds."""

    claim: Claim[Any]
    design: Design
    seeds: tuple[int, ...]
    key: Run
    found: dict[int, SeedResult] = field(default_factory=dict[int, SeedResult])

    @property
    def missing(self) -> list[int]:
        return [seed for seed in self.seeds if seed not in self.found]


class _Course:
    """All claims of one run, from their stored seeds to their verdicts."""

    def __init__(self, preset: str, store: Store | None, watch: Watch) -> None:
        self._preset, self._store, self._watch = preset, store, watch
        self._entries: dict[str, _Entry] = {}
        self._tries: dict[SeedJob, int] = {}
        self.verdicts: dict[str, Verdict] = {}

    def enter(self, claim: Claim[Any], seeds: int | Sequence[int] | None, base_seed: int) -> None:
        """Takes a claim on, with the seeds that the store has."""
        if self._preset not in claim.designs:
            has = ", ".join(claim.designs) or "none"
            reason = f"There is no preset {self._preset!r} for this claim; it has {has}."
            self._settle(not_run(claim, self._preset, f"{reason} {(claim.absent or {}).get(self._preset, '')}"))
            return
        design = claim.designs[self._preset]
        chosen = _seeds(design.seeds if seeds is None else seeds, base_seed)
        key = Run(claim.id, fingerprint(claim, design), self._preset, _spelled(versions()))
        entry = self._entries[claim.id] = _Entry(claim, design, chosen, key)
        if self._store:
            known = {seed: self._store.get(key, seed) for seed in chosen}
            entry.found.update({seed: result for seed, result in known.items() if result})

    def run(self, work: SeedWork, start: StartsBackend) -> None:
        """Computes what is missing, and judges each claim as soon as its last seed is there."""
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
                    if job.claim not in self.verdicts:
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
        entry = self._entries[job.claim]
        if job.claim in self.verdicts:  # another seed has settled it
            return True
        if rows is None:
            self._tries[job] = self._tries.get(job, 0) + 1
            if self._tries[job] < _TRIES:
                return False
            self._settle(_unmeasured(entry, self._preset, job.seed, failure))
        elif isinstance(rows[0], Missing):
            self._settle(not_run(entry.claim, self._preset, rows[0].reason))
        else:
            self._keep(entry, job.seed, rows[0])
        return True

    def _keep(self, entry: _Entry, seed: int, result: SeedResult) -> None:
        entry.found[seed] = result
        if self._store:
            self._store.put(entry.key, seed, result)
        self._told()
        self._judge_if_whole(entry)

    def _judge_if_whole(self, entry: _Entry) -> None:
        if not entry.missing:
            self._settle(_verdict(entry, self._preset))

    def _settle(self, verdict: Verdict) -> None:
        self.verdicts[verdict.claim_id] = verdict
        if self._store:
            self._store.put_verdict(verdict.claim_id, verdict.preset, verdict.to_json())
        if self._watch.on_verdict:
            self._watch.on_verdict(verdict)

    def _told(self) -> None:
        if self._watch.on_progress:
            entries = self._entries.values()
            self._watch.on_progress(sum(len(e.found) for e in entries), sum(len(e.seeds) for e in entries))


def not_run(claim: Claim[Any], preset: str, why: str) -> Verdict:
    """The verdict of a claim that was not measured."""
    return Verdict(
        claim.id, claim.statement, "not-run", claim.predicted, preset, claim.scope, why.rstrip(), caveats=claim.caveats
    )


def _jobs(entries: Sequence[_Entry]) -> list[SeedJob]:
    """What is to be computed, the longest first, so that all workers end together."""
    expected: Mapping[str, Verdict] = published()
    costs = {claim_id: verdict.seconds / max(1, verdict.n) for claim_id, verdict in expected.items()}
    ordered = sorted(entries, key=lambda entry: -costs.get(entry.claim.id, 0.0))
    wanted = [(entry.claim.id, seed) for entry in ordered for seed in entry.missing]
    return [SeedJob(number, claim_id, seed) for number, (claim_id, seed) in enumerate(wanted)]


def _verdict(entry: _Entry, preset: str) -> Verdict:
    results = [entry.found[seed] for seed in entry.seeds]
    claim, design = entry.claim, entry.design
    rows = tuple(row for result in results for row in result.rows)
    control = claim.control.judge(_part(rows, "control"), design)
    found = with_control(claim.judge(_part(rows, "claim"), design), control, claim.control.statement)
    return Verdict(
        claim_id=claim.id, statement=claim.statement, outcome=found.outcome, predicted=claim.predicted,
        preset=preset, scope=claim.scope, why=found.why, effect=found.effect, interval=found.interval,
        n=found.n,
        control=ControlResult(statement=claim.control.statement, **asdict(control)), caveats=claim.caveats,
        seeds=entry.seeds, design_hash=entry.key.design, versions=versions(), device=device_name(design),
        seconds=sum(result.seconds for result in results), rows=rows,
    )  # fmt: skip


def _unmeasured(entry: _Entry, preset: str, seed: int, failure: str) -> Verdict:
    claim = entry.claim
    why = f"It could not be measured: seed {seed} failed {_TRIES} times, {failure}."
    return Verdict(
        claim.id, claim.statement, "inconclusive", claim.predicted, preset, claim.scope, why, caveats=claim.caveats,
        seeds=entry.seeds, design_hash=entry.key.design, versions=versions(),
    )  # fmt: skip


def _seeds(asked: int | Sequence[int], base_seed: int) -> tuple[int, ...]:
    chosen = tuple(range(asked)) if isinstance(asked, int) else tuple(int(seed) for seed in asked)
    if not chosen or len(set(chosen)) < len(chosen):
        raise InputError(
            f"lab run: seeds must be a positive number or different seeds, got {asked!r}. "
            "Leave it out for as many as the design asks for."
        )
    if min(chosen) + base_seed < 0:
        raise InputError(f"lab run: seeds must not be negative, got base seed {base_seed}. Give 0 or more.")
    return tuple(base_seed + seed for seed in chosen)


def _part(rows: Sequence[Row], part: str) -> list[Row]:
    return [row for row in rows if row["part"] == part]


def _spelled(found: dict[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(found.items()))
