"""Finished seeds on disk, one small SQLite file in a folder: a killed run goes on where it stopped."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gainstage.errors import StoreError
from gainstage.lab.judge import Row

FILE_NAME = "lab.sqlite3"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS seeds (
    claim TEXT, design TEXT, preset TEXT, versions TEXT, seed INTEGER,
    seconds REAL NOT NULL, rows TEXT NOT NULL,
    PRIMARY KEY (claim, design, preset, versions, seed)
);
CREATE TABLE IF NOT EXISTS results (
    kind TEXT, experiment TEXT, preset TEXT, record TEXT NOT NULL, PRIMARY KEY (kind, experiment, preset)
);
"""


@dataclass(frozen=True)
class Run:
    """What a stored seed belongs to; two runs that differ in any of it share nothing."""

    claim: str
    design: str
    preset: str
    versions: str


@dataclass(frozen=True)
class SeedResult:
    """The rows of one seed, and how long it took to measure them."""

    rows: Sequence[Row]
    seconds: float


class Store:
    """Results by run and seed. A seed is there whole or not at all, also after a kill.

    Args:
        folder: Made if it is missing.

    Raises:
        StoreError: if it cannot be made, read or written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / FILE_NAME
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self.path, timeout=30)
            # A reader may look on while a run writes, and a kill leaves the last commit in force.
            self._connection.execute("PRAGMA journal_mode=WAL")
            with self._connection:
                self._connection.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise self._failure(error) from error

    def get(self, run: Run, seed: int) -> SeedResult | None:
        """The stored result, or None.

        Raises:
            StoreError: if the file cannot be read.
        """
        where = "claim=? AND design=? AND preset=? AND versions=? AND seed=?"
        try:
            found = self._connection.execute(
                f"SELECT rows, seconds FROM seeds WHERE {where}", (*_key(run), seed)
            ).fetchone()
            return SeedResult(json.loads(found[0]), found[1]) if found else None
        except (sqlite3.Error, ValueError) as error:
            raise self._failure(error) from error

    def put(self, run: Run, seed: int, result: SeedResult) -> None:
        """Keeps a result; it is on disk when this returns.

        Raises:
            StoreError: if the file cannot be written.
        """
        values = (*_key(run), seed, result.seconds, json.dumps(list(result.rows)))
        try:
            with self._connection:
                self._connection.execute("INSERT OR REPLACE INTO seeds VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def put_result(self, kind: str, experiment: str, preset: str, record: str) -> None:
        """Keeps the last result of an experiment at a preset.

        Args:
            kind: ``verdict`` or ``hearing``.
            experiment: Its id.
            preset: That it was run at.
            record: As JSON.

        Raises:
            StoreError: if the file cannot be written.
        """
        values = (kind, experiment, preset, record)
        try:
            with self._connection:
                self._connection.execute("INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?)", values)
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def results(self, kind: str) -> list[str]:
        """The last result of each experiment and preset, as JSON.

        Args:
            kind: ``verdict`` or ``hearing``.

        Raises:
            StoreError: if the file cannot be read.
        """
        query = "SELECT record FROM results WHERE kind=? ORDER BY experiment, preset"
        try:
            return [text for (text,) in self._connection.execute(query, (kind,)).fetchall()]
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def _failure(self, error: Exception) -> StoreError:
        return StoreError(
            "lab: store must be a folder that can be read and written, "
            f"got {str(self.path.parent)!r} ({error}). Choose another folder, or delete its {FILE_NAME}."
        )


def _key(run: Run) -> tuple[str, str, str, str]:
    return run.claim, run.design, run.preset, run.versions
