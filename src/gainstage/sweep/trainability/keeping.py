"""The runs of a map on disk: one SQLite file, written after every run.

A map is a fixed series of runs, cut wherever it is stopped: what is kept is its beginning, and going on means to look
the kept runs up and to train the others. The plan of a sweep cannot serve: where a map looks next depends on its runs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from gainstage.sweep.store import troubles
from gainstage.sweep.trainability.records import MapCell

FILE_NAME = "map.sqlite3"
# To be raised when a run of the same settings becomes another one.
FORMAT = 1
# Seconds for which another process may hold the file before it is said.
PATIENCE = 2.0
MAP = troubles.Work("map", FILE_NAME, "the same command")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS runs (
    norm TEXT, scale REAL, lr REAL, initial REAL, final REAL, diverged_at INTEGER,
    seconds REAL NOT NULL, spent REAL NOT NULL, PRIMARY KEY (norm, scale, lr)
);
"""

Place = tuple[str, float, float]


@dataclass(frozen=True)
class KeptRun:
    """A run that is on disk.

    Attributes:
        cell: Its outcome, not judged.
        seconds: It took.
        spent: Of the map's budget at its end, in seconds.
    """

    cell: MapCell
    seconds: float
    spent: float

    @property
    def place(self) -> Place:
        """Variant, scale and learning rate."""
        return self.cell.norm, self.cell.scale, self.cell.lr


class Keeping:
    """A folder that holds the runs of one map. Use it in a ``with`` statement: one process at a time has it.

    Args:
        folder: Made if it is missing.
        identity: All that determines the runs, by name: settings as they are, everything else as a fingerprint.

    Raises:
        StoreError: if it cannot be made, read or written, is held by another process, or belongs to another map.
    """

    def __init__(self, folder: str | Path, identity: Mapping[str, str]) -> None:
        self.folder = Path(folder)
        with self._told():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self.folder / FILE_NAME, timeout=PATIENCE, isolation_level=None)
        try:
            self._prepare()
            self._identify(identity)
        except BaseException:
            self._database.close()
            raise

    def __enter__(self) -> Keeping:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def runs(self) -> list[KeptRun]:
        """All that is kept, in order of their making."""
        with self._told():
            found = self._database.execute(
                "SELECT norm, scale, lr, initial, final, diverged_at, seconds, spent FROM runs ORDER BY rowid"
            ).fetchall()
        return [KeptRun(MapCell(*cell), seconds, spent) for *cell, seconds, spent in found]

    def keep(self, run: KeptRun) -> None:
        """Keeps a run; no kill loses it when this has returned."""
        cell = run.cell
        values = (*run.place, cell.initial, cell.final, cell.diverged_at, run.seconds, run.spent)
        with self._told():
            self._database.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)

    def _prepare(self) -> None:
        with self._told():
            # Exclusive: the lock is held until the process ends, however it ends. Named before the journal's mode, so
            # that no shared memory is needed, and a network folder will do.
            self._database.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._database.execute("PRAGMA journal_mode=WAL")
            # A kill loses nothing that was kept; a power cut at most the last runs, never the file. Four calls of
            # fsync for each run would take as long as a short one.
            self._database.execute("PRAGMA synchronous=NORMAL")
            found = int(self._database.execute("PRAGMA user_version").fetchone()[0])
        if found > FORMAT:
            raise troubles.newer(self.folder, found, FORMAT, MAP)
        with self._told():
            # Writing at once takes the lock, and tells before the work begins what cannot be written.
            self._database.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version={FORMAT}; COMMIT;")

    def _identify(self, identity: Mapping[str, str]) -> None:
        with self._told():
            stored = dict(self._database.execute("SELECT name, value FROM facts"))
            if not stored:
                self._database.execute("BEGIN")
                self._database.executemany("INSERT INTO facts VALUES (?, ?)", identity.items())
                self._database.execute("COMMIT")
                return
        for name, here in identity.items():
            if stored.get(name) != here:
                raise troubles.foreign(self.folder, name, str(stored.get(name)), here, MAP)

    @contextmanager
    def _told(self) -> Generator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise troubles.broken(self.folder, error, MAP) from error
