"""The ledger: which cells make a chunk, who works on it, and where its rows are. One SQLite file in WAL mode.

A chunk is what is computed, leased and recorded as one; it is done whole or not at all. The plan is stored, so that
a run that goes on computes the same chunks as one that was never stopped, and rounds alike.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from gainstage.errors import StoreError
from gainstage.sweep.store import troubles

FILE_NAME = "sweep.sqlite3"
FORMAT = 1
_SCHEMA = f"""
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE owners (id TEXT PRIMARY KEY, beats INTEGER NOT NULL DEFAULT 0);
CREATE TABLE chunks (
    id INTEGER PRIMARY KEY, mode TEXT NOT NULL, cells BLOB NOT NULL, size INTEGER NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0, owner TEXT,
    shard TEXT, start INTEGER, length INTEGER, lengths BLOB, checksum INTEGER, failed INTEGER, diverged INTEGER
);
CREATE INDEX open ON chunks (owner, id) WHERE shard IS NULL;
PRAGMA user_version = {FORMAT};
"""
_positions = msgspec.msgpack.Decoder(list[int])


@dataclass(frozen=True)
class Identity:
    """What a store belongs to; those with another hash or other versions share nothing.

    Attributes:
        name: The sweep's.
        specification: Its text, a line for each field: from it the sweep can be resumed, and a difference told.
        versions: Of what measures here; another of these may round differently.
        hash: Of all that determines the results, the source of the user's functions too, and of the cells' order.
        cells: How many there are.
    """

    name: str
    specification: str
    versions: str
    hash: str
    cells: int


@dataclass(frozen=True)
class Leased:
    """A chunk that this process works on.

    Attributes:
        id: In the ledger.
        mode: How to compute it.
        cells: Positions in the specification's cells.
        tries: How often it has failed before.
    """

    id: int
    mode: str
    cells: tuple[int, ...]
    tries: int


@dataclass(frozen=True)
class Stretch:
    """Where the rows of a finished chunk are: in a shard from ``start``, one after the other.

    Attributes:
        id: The chunk's.
        shard: The shard's name.
        start, length: In bytes.
        checksum: CRC-32 of these bytes.
        cells: How many rows they are.
    """

    id: int
    shard: str
    start: int
    length: int
    checksum: int
    cells: int

    @property
    def end(self) -> int:
        """The byte behind its last row."""
        return self.start + self.length


@dataclass(frozen=True)
class Recorded:
    """What the ledger is told of a finished chunk: its place as in `Stretch`, and how its cells fared."""

    id: int
    shard: str
    start: int
    lengths: tuple[int, ...]
    checksum: int
    failed: int
    diverged: int


@dataclass(frozen=True)
class Status:
    """How far a sweep is, in cells.

    Attributes:
        name: The sweep's.
        cells: All of them.
        done: Those with a row, failed and diverged ones too.
        failed: Those that could not be run.
        diverged: Those whose training diverged.
        running: Those that a process works on.
    """

    name: str
    cells: int
    done: int
    failed: int
    diverged: int
    running: int

    @property
    def complete(self) -> bool:
        """Whether every cell has a row."""
        return self.done == self.cells


class Ledger:
    """The file, open. Every method is one transaction, and raises `StoreError` if the file refuses.

    Args:
        folder: The store's; must exist to be created in.
        create: Whether to make it if it is missing; else it must be there.
        readonly: Whether it is looked at only, which works in a folder that cannot be written too.
    """

    def __init__(self, folder: Path, *, create: bool = False, readonly: bool = False) -> None:
        self.folder = folder
        path = folder / FILE_NAME
        with self._told():
            if not create and not path.is_file():
                raise troubles.absent(folder)
            self._database = _readable(path) if readonly else sqlite3.connect(path, timeout=30, isolation_level=None)
        try:
            self._prepare(create=create, readonly=readonly)
        except StoreError:
            self.close()
            raise

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    def identify(self, identity: Identity) -> None:
        """Says whose ledger this is, or finds that it is this sweep's already.

        Raises:
            StoreError: if it belongs to another sweep, or to another version of its code.
        """
        with self._transaction():
            stored = self.identity()
            if stored is None:
                facts = asdict(identity).items()
                self._database.executemany("INSERT INTO facts VALUES (?, ?)", [(k, str(v)) for k, v in facts])
            elif (stored.hash, stored.versions) != (identity.hash, identity.versions):
                raise _difference(self.folder, stored, identity)

    def identity(self) -> Identity | None:
        """Whose it is, or None in one that was just made."""
        with self._told():
            facts = dict(self._database.execute("SELECT name, value FROM facts"))
        if "cells" not in facts:
            return None
        texts = {name: facts[name] for name in ("name", "specification", "versions", "hash")}
        return Identity(**texts, cells=int(facts["cells"]))

    def planned(self) -> int | None:
        """Over how many workers the chunks that are laid down are best spread; None if none are."""
        with self._told():
            found = self._one("SELECT MAX(value) FROM facts WHERE name = 'planned'")[0]
            return None if found is None else int(found)

    def lay(self, chunks: Iterable[tuple[str, Sequence[int]]], workers: int) -> None:
        """Lays the chunks down, unless another process was first: then its plan holds.

        Args:
            chunks: Mode and positions of the cells of each.
            workers: Over how many they are best spread.
        """
        rows = ((mode, msgspec.msgpack.encode(list(cells)), len(cells)) for mode, cells in chunks)
        with self._transaction():
            if self.planned() is None:
                self._database.executemany("INSERT INTO chunks (mode, cells, size) VALUES (?, ?, ?)", rows)
                self._database.execute("INSERT INTO facts VALUES ('planned', ?)", (str(workers),))

    def claim(self, owner: str, count: int) -> list[Leased]:
        """Leases the next chunks that nobody works on; none if there are none.

        Args:
            owner: Who claims.
            count: How many at the most.
        """
        if count < 1:
            return []
        with self._transaction():
            found = self._database.execute(
                "SELECT id, mode, cells, tries FROM chunks WHERE shard IS NULL AND owner IS NULL ORDER BY id LIMIT ?",
                (count,),
            ).fetchall()
            self._database.execute("INSERT OR IGNORE INTO owners (id) VALUES (?)", (owner,))
            self._database.executemany("UPDATE chunks SET owner = ? WHERE id = ?", [(owner, row[0]) for row in found])
        return [Leased(number, mode, tuple(_positions.decode(cells)), tries) for number, mode, cells, tries in found]

    def finish(self, owner: str, chunks: Sequence[Recorded]) -> list[bool]:
        """Records chunks as done; returns for each whether the lease still held.

        One whose lease was taken over meanwhile is left to its new owner: no cell is recorded twice.
        """
        kept: list[bool] = []
        with self._transaction():
            for chunk in chunks:
                place = (chunk.shard, chunk.start, sum(chunk.lengths), msgspec.msgpack.encode(chunk.lengths))
                done = self._database.execute(
                    "UPDATE chunks SET owner = NULL, shard = ?, start = ?, length = ?, lengths = ?, checksum = ?, "
                    "failed = ?, diverged = ? WHERE id = ? AND owner = ? AND shard IS NULL",
                    (*place, chunk.checksum, chunk.failed, chunk.diverged, chunk.id, owner),
                )
                kept.append(done.rowcount == 1)
        return kept

    def give_back(self, owner: str, chunk: Leased, *, failed: bool) -> None:
        """Frees a chunk for another try; a failure is counted."""
        with self._transaction():
            self._database.execute(
                "UPDATE chunks SET owner = NULL, tries = tries + ? WHERE id = ? AND owner = ?",
                (int(failed), chunk.id, owner),
            )

    def halve(self, owner: str, chunk: Leased) -> None:
        """Puts two chunks of half its cells, not tried yet, in a chunk's place."""
        middle = len(chunk.cells) // 2
        halves = [(chunk.mode, list(part)) for part in (chunk.cells[:middle], chunk.cells[middle:])]
        rows = [(mode, msgspec.msgpack.encode(part), len(part)) for mode, part in halves]
        with self._transaction():
            gone = self._database.execute("DELETE FROM chunks WHERE id = ? AND owner = ?", (chunk.id, owner))
            if gone.rowcount == 1:
                self._database.executemany("INSERT INTO chunks (mode, cells, size) VALUES (?, ?, ?)", rows)

    def enter(self, owner: str) -> None:
        """Makes an owner known."""
        with self._transaction():
            self._database.execute("INSERT OR IGNORE INTO owners (id) VALUES (?)", (owner,))

    def beat(self, owner: str) -> None:
        """Shows that an owner lives."""
        with self._transaction():
            self._database.execute("UPDATE owners SET beats = beats + 1 WHERE id = ?", (owner,))

    def beats(self) -> dict[str, int]:
        """All owners, with how often each has shown that it lives."""
        with self._told():
            return dict(self._database.execute("SELECT id, beats FROM owners"))

    def dismiss(self, owner: str) -> None:
        """Forgets an owner that left or died, and frees its chunks."""
        with self._transaction():
            self._database.execute("UPDATE chunks SET owner = NULL WHERE shard IS NULL AND owner = ?", (owner,))
            self._database.execute("DELETE FROM owners WHERE id = ?", (owner,))

    def reopen(self, chunks: Iterable[int]) -> None:
        """Marks chunks whose rows are lost as not done."""
        with self._transaction():
            self._database.executemany(
                "UPDATE chunks SET owner = NULL, shard = NULL WHERE id = ?", [(number,) for number in chunks]
            )

    def finished(self) -> bool:
        """Whether every chunk is done."""
        with self._told():
            return (
                self.planned() is not None
                and not self._one("SELECT EXISTS (SELECT 1 FROM chunks WHERE shard IS NULL)")[0]
            )

    def status(self) -> Status:
        """How far the sweep is."""
        with self._told():
            done, failed, diverged, running = self._one(
                "SELECT SUM(size * (shard IS NOT NULL)), SUM(failed * (shard IS NOT NULL)), "
                "SUM(diverged * (shard IS NOT NULL)), SUM(size * (shard IS NULL AND owner IS NOT NULL)) FROM chunks"
            )
        identity = self.identity()
        name, cells = (identity.name, identity.cells) if identity else ("", 0)
        return Status(name, cells, done or 0, failed or 0, diverged or 0, running or 0)

    def stretches(self) -> Iterator[Stretch]:
        """Where the rows of every finished chunk are, in the order of the plan."""
        for stretch, _, _ in self.index():
            yield stretch

    def index(self) -> Iterator[tuple[Stretch, list[int], list[int]]]:
        """The same, with the positions of its cells and the lengths of their rows in bytes."""
        with self._told():
            found = self._database.execute(
                "SELECT id, shard, start, length, checksum, size, cells, lengths FROM chunks "
                "WHERE shard IS NOT NULL ORDER BY id"
            )
            for *place, cells, lengths in found:
                yield Stretch(*place), _positions.decode(cells), _positions.decode(lengths)

    def _prepare(self, *, create: bool, readonly: bool) -> None:
        if create:
            with self._told():
                self._database.execute("PRAGMA journal_mode=WAL")
            with self._transaction():
                if not self._format():
                    for statement in _SCHEMA.strip().split(";\n"):
                        self._database.execute(statement)
        found = self._format()
        if found > FORMAT:
            raise troubles.newer(self.folder, found, FORMAT)
        if not found:
            raise troubles.absent(self.folder)
        if not readonly:
            with self._told():
                # A kill loses nothing that was committed; a power cut at most the last chunks, never the file.
                self._database.execute("PRAGMA synchronous=NORMAL")

    def _format(self) -> int:
        with self._told():
            return int(self._one("PRAGMA user_version")[0])

    def _one(self, query: str) -> tuple[Any, ...]:
        return self._database.execute(query).fetchone()

    @contextmanager
    def _told(self) -> Generator[None]:
        try:
            yield
        except StoreError:
            raise  # itself an OSError, and clear already
        except (sqlite3.Error, OSError) as error:
            raise troubles.broken(self.folder, error) from error

    @contextmanager
    def _transaction(self) -> Generator[None]:
        with self._told():
            # Immediate: a lock that is taken at the first write could find that another process wrote in between.
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise


def _readable(path: Path) -> sqlite3.Connection:
    address = path.resolve().as_uri()
    try:
        database = sqlite3.connect(f"{address}?mode=ro", uri=True, timeout=30, isolation_level=None)
        database.execute("SELECT 1 FROM facts")
        return database
    except sqlite3.OperationalError:
        # Reading in WAL mode needs a file for shared memory; where none can be made nobody writes either.
        return sqlite3.connect(f"{address}?immutable=1", uri=True, isolation_level=None)


def _difference(folder: Path, stored: Identity, here: Identity) -> StoreError:
    if stored.versions != here.versions:
        return troubles.foreign(folder, "set of versions", stored.versions, here.versions)
    if stored.specification != here.specification:
        pairs = zip(stored.specification.splitlines(), here.specification.splitlines(), strict=False)
        lines = next((pair for pair in pairs if pair[0] != pair[1]), (f"{stored.cells} cells", f"{here.cells} cells"))
        return troubles.foreign(folder, "specification", *lines)
    return troubles.foreign(folder, "code (model, data or loss)", stored.hash, here.hash)
