"""Runs a sweep, or goes on with one: a specification in, a store and its rows out."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Callable
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gainstage.errors import InputError, StoreError, SweepError, UnknownNameError
from gainstage.sweep import execution
from gainstage.sweep.backends import Backend, Inline, Local, Ray, Work
from gainstage.sweep.backends.base import Execute
from gainstage.sweep.cells import Cell, content_hash
from gainstage.sweep.drive import drive
from gainstage.sweep.plans import Plan
from gainstage.sweep.progress import OnProgress
from gainstage.sweep.result import Result
from gainstage.sweep.spec import Spec
from gainstage.sweep.store import Identity, Store
from gainstage.sweep.store.ledger import Ledger
from gainstage.version import __version__

BACKENDS = ("local", "ray")
_REFERENCES = ("model", "data", "loss")


def run(
    spec: Spec,
    *,
    backend: str = "local",
    store: str | Path | None = None,
    resume: bool = True,
    mend: bool = False,
    workers: int | None = None,
    address: str | None = None,
    tries: int = 2,
    on_progress: OnProgress | None = None,
    on_plan: Callable[[Plan], None] | None = None,
    execute: Execute | None = None,
    plan: Callable[[Spec, tuple[Cell, ...]], Plan] | None = None,
) -> Result:
    """Trains every cell of a sweep, and keeps what came of it.

    Whatever ends it, a kill or a full disk, at most the chunks in flight are lost; calling it again goes on, and the
    result is the one of a run that was never stopped. Several processes of one machine may run one sweep together.

    Args:
        spec: What to train.
        backend: ``local``, processes of this machine, or ``ray``.
        store: The folder that keeps everything; ``sweeps/<name>`` by default.
        resume: Whether to go on with a store that is there; False: it must be new.
        mend: Whether cells whose stored rows were lost or damaged are run again; else such a store is refused.
        workers: How many chunks are computed at a time: as planned by default for ``local``, all cores of the
            cluster for ``ray``. 0: in this process, where a cell that kills its process ends the run.
        address: Of a running Ray cluster; None starts one on this machine.
        tries: How often a chunk may fail, by an exception or its worker's death, before it is halved, and a single
            cell before it is recorded as failed.
        on_progress: Is told now and then how far it is.
        on_plan: Is told the plan, if one is made: a run that goes on keeps the plan that it has.
        execute, plan: The engine of this package by default; another ``execute`` must be importable by its name.

    Returns:
        The rows, read from the store as they are asked for.

    Raises:
        InputError: if an argument cannot be used, or Ray is not installed.
        SpecError: if the specification, or what it refers to, cannot be used.
        StoreError: if the store cannot be written, or is that of another sweep or version: results are not mixed.
        SweepError: if workers cannot start, or the cluster cannot be reached.

    Validity:
        Equal to the last bit for the same versions on the same kind of processor.

    Example:
        >>> from gainstage.sweep import Spec, run  # doctest: +SKIP
        >>> result = run(Spec.from_toml("depth.toml"), store="sweeps/depth")  # doctest: +SKIP
        >>> result.largest_stable("lr", by=("norm",))  # doctest: +SKIP
    """
    _check(backend, workers, address, tries)
    cells = spec.cells()
    folder = Path("sweeps", spec.name) if store is None else Path(store)
    with Store(folder, identify(spec, cells), resume=resume, mend=mend) as opened:
        if opened.planned() is None:
            made = (plan or execution.plan)(spec, cells)
            opened.lay(_positions(made, cells), made.workers)
            if on_plan:
                on_plan(made)
        if not opened.finished():
            chosen = _backend(backend, Work(execute or execution.execute, spec), opened.planned(), workers, address)
            try:
                drive(opened, chosen, cells, tries=tries, on_progress=on_progress)
            finally:
                chosen.close()
    return Result(folder)


def resume(store: str | Path, **options: Any) -> Result:
    """Goes on with the sweep of a store, by the specification in it.

    Args:
        store: A sweep's folder.
        **options: As for `run`.

    Returns:
        The rows.

    Raises:
        StoreError: if there is no sweep, or its code has changed since; else as `run`.
    """
    return run(stored_spec(store), store=store, **options)


def stored_spec(store: str | Path) -> Spec:
    """The specification that a store was made for.

    Args:
        store: A sweep's folder.

    Raises:
        StoreError: if there is no sweep.
        SpecError: if what it refers to is gone.
    """
    ledger = Ledger(Path(store), readonly=True)
    try:
        identity = ledger.identity()
    finally:
        ledger.close()
    if identity is None:
        raise StoreError(f"sweep: store must hold a sweep, got one not begun ({store}). Start it with sweep run.")
    return Spec(**json.loads(identity.specification))


def identify(spec: Spec, cells: tuple[Cell, ...]) -> Identity:
    """What a store of these cells belongs to."""
    code = content_hash([spec.recipe, [cell.key for cell in cells]])
    return Identity(spec.name, _text(spec), _versions(), code, len(cells))


def _text(spec: Spec) -> str:
    """The specification in JSON, which unlike TOML knows a null; paths of references are absolute."""
    content = {entry.name: getattr(spec, entry.name) for entry in fields(spec)}
    for name in _REFERENCES:
        place, _, function = str(content[name]).rpartition(":")
        if place.endswith(".py"):
            content[name] = f"{Path(place).resolve()}:{function}"
    content["stop"] = {name: value for name, value in vars(spec.rule).items() if value < math.inf}
    lines = (f'"{name}": {json.dumps(value)}' for name, value in content.items())
    return "{" + ",\n".join(lines) + "}"


def _versions() -> str:
    python = ".".join(platform.python_version_tuple()[:2])
    found = {"gainstage": __version__, "python": python, **{name: version(name) for name in ("torch", "numpy")}}
    return " ".join(f"{name}={number}" for name, number in found.items())


def _positions(made: Plan, cells: tuple[Cell, ...]) -> list[tuple[str, list[int]]]:
    at = {cell.key: position for position, cell in enumerate(cells)}
    # The longest first, so that the workers end together.
    ordered = sorted(made.chunks, key=lambda chunk: -chunk.seconds)
    chunks = [(chunk.mode, [at[cell.key] for cell in chunk.cells]) for chunk in ordered]
    if sorted(position for _, chunk in chunks for position in chunk) != list(range(len(cells))):
        raise SweepError(
            f"sweep run: plan must have each of {len(cells)} cells once, got {sum(len(chunk) for _, chunk in chunks)} "
            "in its chunks. Mend the plan that was given."
        )
    return chunks


def _backend(name: str, work: Work, planned: int | None, workers: int | None, address: str | None) -> Backend:
    if name == "ray":
        return Ray(work, workers, address)
    return Inline(work) if workers == 0 else Local(work, workers or planned)


def _check(backend: str, workers: int | None, address: str | None, tries: int) -> None:
    if backend not in BACKENDS:
        raise UnknownNameError("sweep run", "backend", backend, BACKENDS)
    if address is not None and backend != "ray":
        raise InputError(f"sweep run: address must come with backend 'ray', got {address!r} with {backend!r}. Add it.")
    if workers is not None and workers < (1 if backend == "ray" else 0):
        raise InputError(f"sweep run: workers must be a positive number, got {workers}. Leave it out for all cores.")
    if tries < 1:
        raise InputError(f"sweep run: tries must be at least 1, got {tries}. 2 outlive one accident.")
