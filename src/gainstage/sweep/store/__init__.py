"""What a sweep has done so far, on disk: a ledger in SQLite, and the rows themselves in shards beside it."""

from __future__ import annotations

from gainstage.sweep.store.ledger import Identity, Leased, Status
from gainstage.sweep.store.store import Store

__all__ = ["Identity", "Leased", "Status", "Store"]
