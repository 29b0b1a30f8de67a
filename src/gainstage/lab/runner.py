"""`run` and `run_all`: which experiments, which seeds, computed where.

A run is a list of jobs, one for each experiment and seed, that any backend of `gainstage.sweep` computes in any order;
`gainstage.lab.course` has what happens to them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from gainstage.errors import InputError, UnknownNameError
from gainstage.lab.catalogue import CLAIMS, find
from gainstage.lab.catalogue.confrontations import CONFRONTATIONS
from gainstage.lab.claim import PRESETS, Claim
from gainstage.lab.conclusions import Result
from gainstage.lab.course import Course, StartsBackend, Watch
from gainstage.lab.seeds import Experiment, SeedWork
from gainstage.lab.store import Store
from gainstage.lab.verdict import Verdict
from gainstage.sweep.backends import Inline, Local, Ray

BACKENDS = ("local", "ray", "inline")


def run(
    claim_id: str,
    *,
    preset: str = "quick",
    seeds: int | Sequence[int] | None = None,
    store: str | Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
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
    claim = find(claim_id, "lab run")
    if preset not in PRESETS:
        raise UnknownNameError("lab run", "preset", preset, PRESETS)
    return run_claim(claim, preset=preset, seeds=seeds, store=store, on_progress=on_progress)


def run_all(
    ids: Sequence[str] | None = None,
    *,
    preset: str = "quick",
    seeds: int | Sequence[int] | None = None,
    base_seed: int = 0,
    store: str | Path | None = None,
    backend: str = "local",
    workers: int | None = None,
    address: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    on_result: Callable[[Result], None] | None = None,
) -> tuple[Result, ...]:
    """Measures claims and confrontations, many seeds at a time, and judges each.

    Args:
        ids: Which; all by default.
        preset: ``quick`` or ``full``.
        seeds: As for `run`, of every experiment.
        base_seed: Added to every seed: the same experiments with other draws.
        store: A folder that keeps finished seeds and results. Whatever ends the run, at most the seeds in flight are
            lost, and the same call goes on.
        backend: ``local``, one process of one thread for each core; ``ray``; ``inline``, in this process.
        workers: How many seeds at a time; all cores by default.
        address: Of a running Ray cluster; None starts one on this machine.
        on_progress: Called with (seeds done, seeds in all).
        on_result: Called with each verdict or hearing as soon as it is reached.

    Returns:
        A `Verdict` for a claim, a `Hearing` for a confrontation, in the order of the ids. Equal seeds give equal ones
        on every backend, for the versions and the kind of processor that stand in them.

    Raises:
        UnknownNameError: if there is no such experiment, preset or backend.
        InputError: if ``seeds`` names no seed, or one twice; if Ray is not installed.
        StoreError: if the store cannot be read or written.
        SweepError: if workers cannot start, or the cluster cannot be reached.
    """
    everything = [entry.id for entry in (*CLAIMS, *CONFRONTATIONS)]
    chosen = [experiment(name) for name in dict.fromkeys(everything if ids is None else ids)]
    if preset not in PRESETS:
        raise UnknownNameError("lab run", "preset", preset, PRESETS)
    if backend not in BACKENDS:
        raise UnknownNameError("lab run", "backend", backend, BACKENDS)
    starts: dict[str, StartsBackend] = {
        "local": partial(Local, workers=workers),
        "ray": partial(Ray, workers=workers, address=address),
        "inline": Inline,
    }
    watch = Watch(on_progress, on_result)
    work = SeedWork(preset, experiment)
    return run_experiments(chosen, work, starts[backend], seeds=seeds, base_seed=base_seed, store=store, watch=watch)


def run_claim(
    claim: Claim[Any], *, preset: str = "quick", seeds: int | Sequence[int] | None = None,
    store: str | Path | None = None, on_progress: Callable[[int, int], None] | None = None,
) -> Verdict:  # fmt: skip
    """`run`, for a claim that need not be in the catalogue."""
    work = SeedWork(preset, {claim.id: claim}.__getitem__)
    (found,) = run_experiments([claim], work, Inline, seeds=seeds, store=store, watch=Watch(on_progress))
    assert isinstance(found, Verdict)
    return found


def run_experiments(
    experiments: Sequence[Experiment], work: SeedWork, start: StartsBackend, *,
    seeds: int | Sequence[int] | None = None, base_seed: int = 0, store: str | Path | None = None, watch: Watch,
) -> tuple[Result, ...]:  # fmt: skip
    """`run_all`, of given experiments on a backend that is started here."""
    with nullcontext() if store is None else closing(Store(store)) as opened:
        course = Course(work.preset, opened, watch)
        for experiment in experiments:
            course.enter(experiment, partial(chosen_seeds, asked=seeds, base_seed=base_seed))
        course.run(work, start)
        return tuple(course.results[experiment.id] for experiment in experiments)


def experiment(name: str) -> Experiment:
    """The claim or confrontation of that id.

    Raises:
        UnknownNameError: if there is neither; the nearest is suggested.
    """
    known: dict[str, Experiment] = {entry.id: entry for entry in (*CLAIMS, *CONFRONTATIONS)}
    if name not in known:
        raise UnknownNameError("lab run", "claim or confrontation", name, known)
    return known[name]


def chosen_seeds(default: int, *, asked: int | Sequence[int] | None, base_seed: int) -> tuple[int, ...]:
    """The seeds of an experiment.

    Args:
        default: How many its design asks for.
        asked: How many, or which, in its place.
        base_seed: Added to each.

    Raises:
        InputError: if there is none, one twice, or a negative one.
    """
    asked = default if asked is None else asked
    chosen = tuple(range(asked)) if isinstance(asked, int) else tuple(int(seed) for seed in asked)
    if not chosen or len(set(chosen)) < len(chosen):
        raise InputError(
            f"lab run: seeds must be a positive number or different seeds, got {asked!r}. "
            "Leave it out for as many as the design asks for."
        )
    if min(chosen) + base_seed < 0:
        raise InputError(f"lab run: seeds must not be negative, got base seed {base_seed}. Give 0 or more.")
    return tuple(base_seed + seed for seed in chosen)
