"""Who works on a store, and who only seems to: leases that end with the process that holds them.

A process locks its shard for as long as it lives, so that on the same machine its death shows at once, whatever
killed it. It also counts up in the ledger. One that neither works nor lets go (stopped, or on a file system without
locks) loses its lease when the count has stood still for a while, by the clock of the one who waits: clocks need not
agree.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from gainstage.errors import StoreError
from gainstage.sweep.store.ledger import Ledger
from gainstage.sweep.store.shards import shard_path

if sys.platform != "win32":
    import fcntl

BEAT, PATIENCE = 5.0, 60.0


def lock(descriptor: int) -> bool:
    """Locks an open file until it is closed; False if another process holds it, or locks are not to be had."""
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


class Heartbeat:
    """Counts up in the ledger from a thread of its own until it is stopped.

    Args:
        folder: The store's.
        owner: Whose count.
        every: Seconds.
    """

    def __init__(self, folder: Path, owner: str, every: float) -> None:
        self._folder, self._owner, self._every = folder, owner, every
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="sweep-heartbeat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._stopped.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._stopped.wait(self._every):
            try:
                ledger = Ledger(self._folder)
            except StoreError:
                continue  # whoever works on the store will meet the same trouble, and say it
            try:
                ledger.beat(self._owner)
            except StoreError:
                continue
            finally:
                ledger.close()


class Watch:
    """Tells which owners are dead.

    Args:
        folder: The store's.
        patience: Seconds that an owner's count may stand still.
    """

    def __init__(self, folder: Path, patience: float) -> None:
        self._folder, self._patience = folder, patience
        self._seen: dict[str, tuple[int, float]] = {}

    def dead(self, beats: dict[str, int]) -> list[str]:
        """Those of these owners that are gone, or have stood still for too long.

        Args:
            beats: The count of each.
        """
        now = time.monotonic()
        seen = {owner: self._seen.get(owner, (count, now)) for owner, count in beats.items()}
        self._seen = {owner: then if then[0] == beats[owner] else (beats[owner], now) for owner, then in seen.items()}
        return [owner for owner, (_, since) in self._seen.items() if now - since > self._patience or self._gone(owner)]

    def _gone(self, owner: str) -> bool:
        try:
            with open(shard_path(self._folder, owner), "rb") as file:
                return lock(file.fileno())
        except OSError:
            return False
