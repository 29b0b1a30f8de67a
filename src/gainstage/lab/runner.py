"""Runs a claim: every seed, then the control's judge, then the claim's. No outcome ends a run early."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from gainstage.errors import InputError, UnknownNameError
from gainstage.lab.catalogue import find
from gainstage.lab.claim import PRESETS, Claim, Design
from gainstage.lab.fingerprint import fingerprint
from gainstage.lab.judge import Row, with_control
from gainstage.lab.store import Run, SeedResult, Store
from gainstage.lab.verdict import ControlResult, Verdict
from gainstage.seeding import preserved_rng
from gainstage.version import __version__

D = TypeVar("D", bound=Design)
Progress = Callable[[int, int], None]


def run(
    claim_id: str,
    *,
    preset: str = "quick",
    seeds: int | Sequence[int] | None = None,
    store: str | Path | None = None,
    on_progress: Progress | None = None,
) -> Verdict:
    """Measures a claim anew and judges it.

    Args:
        claim_id: One of `gainstage.lab.claims()`.
        preset: ``quick`` (seconds to minutes on two cores) or ``full``.
        seeds: How many, or which; by default as many as the design asks for, from 0. Fewer than that leave an
            averaged effect inconclusive.
        store: A folder in which finished seeds are kept; an equal run is answered from it, a run that was
            killed goes on where it stopped.
        on_progress: Called with (seeds done, seeds in all) after each seed.

    Returns:
        The verdict; ``not-run``, with the reason, if the claim has no such preset.

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


def run_claim(
    claim: Claim[D],
    *,
    preset: str = "quick",
    seeds: int | Sequence[int] | None = None,
    store: str | Path | None = None,
    on_progress: Progress | None = None,
) -> Verdict:
    """`run`, for a claim that need not be in the catalogue."""
    if preset not in claim.designs:
        return _not_run(claim, preset)
    design = claim.designs[preset]
    chosen = _seeds(design.seeds if seeds is None else seeds)
    key = Run(claim.id, fingerprint(claim, design), preset, _spelled(versions()))
    results: list[SeedResult] = []
    with nullcontext() if store is None else closing(Store(store)) as opened:
        for seed in chosen:
            results.append(_stored(claim, design, seed, key, opened))
            if on_progress:
                on_progress(len(results), len(chosen))
    return _verdict(claim, design, preset, chosen, key, results)


def versions() -> dict[str, str]:
    """Of what measures here: another of these may round differently, so stored seeds are not mixed."""
    packages = {name: version(name) for name in ("torch", "numpy")}
    return {"gainstage": __version__, "python": platform.python_version(), **packages}


def _stored(claim: Claim[D], design: D, seed: int, key: Run, store: Store | None) -> SeedResult:
    found = store.get(key, seed) if store else None
    if found:
        return found
    result = _measured(claim, design, seed)
    if store:
        store.put(key, seed, result)
    return result


def _measured(claim: Claim[D], design: D, seed: int) -> SeedResult:
    start = time.perf_counter()
    # Measurements draw from generators of their own; this holds even if a module's constructor does not.
    with preserved_rng():
        parts = {"claim": claim.measure(design, seed), "control": claim.control.measure(design, seed)}
    rows = [{"part": part, "seed": seed, **row} for part, found in parts.items() for row in found]
    return SeedResult(rows, time.perf_counter() - start)


def _verdict(
    claim: Claim[D], design: D, preset: str, seeds: tuple[int, ...], key: Run, results: Sequence[SeedResult]
) -> Verdict:
    rows = tuple(row for result in results for row in result.rows)
    control = claim.control.judge(_part(rows, "control"), design)
    found = with_control(claim.judge(_part(rows, "claim"), design), control, claim.control.statement)
    return Verdict(
        claim_id=claim.id, statement=claim.statement, outcome=found.outcome, predicted=claim.predicted,
        preset=preset, scope=claim.scope, why=found.why, effect=found.effect, interval=found.interval,
        n=found.n,
        control=ControlResult(statement=claim.control.statement, **asdict(control)), caveats=claim.caveats,
        seeds=seeds, design_hash=key.design, versions=versions(),
        seconds=sum(result.seconds for result in results), rows=rows,
    )  # fmt: skip


def _not_run(claim: Claim[D], preset: str) -> Verdict:
    reason = (claim.absent or {}).get(preset, "")
    why = f"There is no preset {preset!r} for this claim; it has {', '.join(claim.designs)}. {reason}".rstrip()
    return Verdict(
        claim.id, claim.statement, "not-run", claim.predicted, preset, claim.scope, why, caveats=claim.caveats
    )


def _seeds(asked: int | Sequence[int]) -> tuple[int, ...]:
    chosen = tuple(range(asked)) if isinstance(asked, int) else tuple(int(seed) for seed in asked)
    if not chosen or len(set(chosen)) < len(chosen):
        raise InputError(
            f"lab run: seeds must be a positive number or different seeds, got {asked!r}. "
            "Leave it out for as many as the design asks for."
        )
    return chosen


def _part(rows: Sequence[Row], part: str) -> list[Row]:
    return [row for row in rows if row["part"] == part]


def _spelled(found: dict[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(found.items()))
