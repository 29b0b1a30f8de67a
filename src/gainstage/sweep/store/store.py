"""A sweep's store as one process works on it: claim chunks, record rows, leave."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType

from gainstage.errors import StoreError
from gainstage.sweep.cells import Row
from gainstage.sweep.store import troubles
from gainstage.sweep.store.lease import BEAT, PATIENCE, Heartbeat, Watch, lock
from gainstage.sweep.store.ledger import FILE_NAME, Identity, Leased, Ledger, Recorded, Status, Stretch
from gainstage.sweep.store.shards import ShardWriter, shard_path, too_short, unsound


class Store:
    """A folder with a ledger and shards, opened to work on. Use it in a ``with`` statement.

    Whatever ends the process, each chunk has been recorded whole or not at all, and its leases are free for others.

    Args:
        folder: Made if it is missing.
        identity: What it belongs to.
        resume: Whether results may be there already.
        mend: Whether cells whose rows were lost or damaged are to be run again; else such a store is refused.
        beat: Seconds between signs of life.
        patience: Seconds without one after which a process that still seems to live loses its leases.

    Raises:
        StoreError: if it cannot be made, read or written, belongs to another sweep or another version of the
            code, was made by a newer version, or has lost rows.

    Validity:
        Any number of processes of one machine. Not several machines on one network folder: SQLite's WAL mode needs
        shared memory.
    """

    def __init__(
        self,
        folder: str | Path,
        identity: Identity,
        *,
        resume: bool = True,
        mend: bool = False,
        beat: float = BEAT,
        patience: float = PATIENCE,
    ) -> None:
        self.folder, self.owner = Path(folder), secrets.token_hex(6)
        self._beat, self._watch = beat, Watch(self.folder, patience)
        self._ledger = _opened(self.folder, identity, resume=resume)
        try:
            self._check_shards(mend=mend)
        except StoreError:
            self._ledger.close()
            raise

    def __enter__(self) -> Store:
        # Known and locked before anything is claimed: an owner without a lock counts as dead.
        self._shard = ShardWriter(self.folder, self.owner)
        lock(self._shard.fileno())
        self._ledger.enter(self.owner)
        self._heartbeat = Heartbeat(self.folder, self.owner, self._beat)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._heartbeat.stop()
        try:
            self._ledger.dismiss(self.owner)
        except StoreError:
            if error is None:
                raise  # else the first trouble is the one to tell
        finally:
            self._shard.close()
            self._ledger.close()

    def planned(self) -> int | None:
        """Over how many workers the chunks that are laid down are best spread; None if none are."""
        return self._ledger.planned()

    def lay(self, chunks: Iterable[tuple[str, Sequence[int]]], workers: int = 1) -> None:
        """Lays the chunks down (mode and positions of cells), unless another process was first."""
        self._ledger.lay(chunks, workers)

    def claim(self, count: int) -> list[Leased]:
        """Leases up to so many chunks; takes over those of dead processes when there are no others."""
        found = self._ledger.claim(self.owner, count)
        if found or count < 1:
            return found
        beats = self._ledger.beats()
        beats.pop(self.owner, None)
        dead = self._watch.dead(beats)
        for owner in dead:
            self._ledger.dismiss(owner)
        return self._ledger.claim(self.owner, count) if dead else []

    def record(self, finished: Sequence[tuple[Leased, Sequence[Row]]]) -> int:
        """Keeps the rows of finished chunks; they are on disk when this returns.

        Args:
            finished: Chunks, and a row for each of their cells in their order.

        Returns:
            How many of the cells were recorded: those of a chunk whose lease was lost are another's.
        """
        if not finished:
            return 0
        places = self._shard.append([rows for _, rows in finished])
        recorded = [
            Recorded(
                chunk.id, self.owner, place.start, place.lengths, place.checksum,
                failed=sum(row.error is not None for row in rows),
                diverged=sum(row.diverged_at is not None for row in rows),
            )
            for (chunk, rows), place in zip(finished, places, strict=True)
        ]  # fmt: skip
        kept = self._ledger.finish(self.owner, recorded)
        return sum(len(chunk.cells) for (chunk, _), held in zip(finished, kept, strict=True) if held)

    def give_back(self, chunk: Leased, *, failed: bool) -> None:
        """Frees a chunk for another try; a failure is counted."""
        self._ledger.give_back(self.owner, chunk, failed=failed)

    def halve(self, chunk: Leased) -> None:
        """Puts two chunks of half its cells in a chunk's place."""
        self._ledger.halve(self.owner, chunk)

    def finished(self) -> bool:
        """Whether every cell has a row."""
        return self._ledger.finished()

    def status(self) -> Status:
        """How far the sweep is."""
        return self._ledger.status()

    def _check_shards(self, *, mend: bool) -> None:
        lost = (unsound if mend else too_short)(self.folder, self._ledger.stretches())
        if mend:
            self._ledger.reopen(stretch.id for stretch in lost)
        elif lost:
            raise self._torn(lost)

    def _torn(self, lost: Sequence[Stretch]) -> StoreError:
        path = shard_path(self.folder, lost[0].shard)
        end = max(stretch.end for stretch in lost if stretch.shard == lost[0].shard)
        got = f"{path.stat().st_size} of {end} bytes" if path.is_file() else "none"
        return troubles.torn(path, got, sum(stretch.cells for stretch in lost))


def _opened(folder: Path, identity: Identity, *, resume: bool) -> Ledger:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not resume and (folder / FILE_NAME).exists():
            raise troubles.taken(folder)
    except StoreError:
        raise
    except OSError as error:
        raise troubles.broken(folder, error) from error
    ledger = Ledger(folder, create=True)
    try:
        ledger.identify(identity)
    except StoreError:
        ledger.close()
        raise
    return ledger
