"""What can be wrong with a store, each in one line that says how to go on."""

from __future__ import annotations

import errno
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from gainstage.errors import StoreError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True)
class Work:
    """What a store keeps.

    Attributes:
        name: As the user knows it.
        file: The ledger's.
        resume: How one goes on.
    """

    name: str
    file: str
    resume: str


SWEEP = Work("sweep", "sweep.sqlite3", "gainstage sweep resume")


def broken(folder: Path, error: OSError | sqlite3.Error, work: Work = SWEEP) -> StoreError:
    """The error for a store that the operating system or SQLite refuses.

    Args:
        folder: The store's.
        error: What came up.
        work: Whose store it is.
    """
    resume = f"then go on with {work.resume}: what was finished is kept"
    number, text = getattr(error, "errno", None), str(error)
    if number in _FULL or "disk is full" in text:
        return _line(folder, "have room left", text, f"Free some space, {resume}", work)
    if "newer" in text or "malformed" in text or "not a database" in text:
        step = f"Restore {work.file} from a copy, or choose another store"
        return _line(folder, "have a sound ledger", text, step, work)
    if number == errno.ENOTDIR or number == errno.EEXIST:
        return _line(folder, "be a folder", text, "Choose another --store", work)
    if "locked" in text:
        return _line(folder, "be free", text, "Try again when the other process is done with it", work)
    # SQLite calls a refused write a readonly database or an I/O error, as the moment has it.
    step = f"Choose another --store, or mend its permissions, {resume}"
    return _line(folder, "be readable and writable", text, step, work)


def absent(folder: Path) -> StoreError:
    """The error for a folder that holds no store."""
    return _line(folder, "hold a sweep", "none", "Start one with gainstage sweep run SPEC --store")


def taken(folder: Path) -> StoreError:
    """The error for a store that is there although a new one is wanted."""
    return _line(folder, "be new without resume", "one with results", "Leave resume on, or choose another --store")


def newer(folder: Path, found: int, known: int, work: Work = SWEEP) -> StoreError:
    """The error for a store of a later format than this version reads."""
    return _line(folder, f"have format {known}", f"{found}, of a newer gainstage", "Update gainstage", work)


def foreign(folder: Path, what: str, stored: str, here: str, work: Work = SWEEP) -> StoreError:
    """The error for a store of another sweep or map, or of another version of its code."""
    return _line(
        folder, f"belong to this {work.name}, whose {what} is {here}", stored,
        "Results are not mixed: choose another --store, or take the change back", work,
    )  # fmt: skip


def torn(path: Path, why: str, cells: int) -> StoreError:
    """The error for a shard of which some rows are gone.

    Args:
        path: The shard's.
        why: What was found in place of what.
        cells: How many rows are gone.
    """
    return StoreError(
        f"sweep: shard must be whole, got {why} ({path}). "
        f"gainstage sweep resume {path.parent.parent} --mend runs its {cells} lost cells again and keeps the others."
    )


def _line(folder: Path, constraint: str, got: str, step: str, work: Work = SWEEP) -> StoreError:
    return StoreError(f"{work.name}: store must {constraint}, got {' '.join(got.split())} ({folder}). {step}.")
