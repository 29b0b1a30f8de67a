"""What came of a sweep, read from its store row by row: the memory of a row, and of an index of 16 bytes a cell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gainstage.errors import InputError
from gainstage.sweep import queries, tables
from gainstage.sweep.cells import Row
from gainstage.sweep.queries import Best, Decades, Stable
from gainstage.sweep.store.ledger import Ledger, Status, Stretch
from gainstage.sweep.store.shards import ShardReader


class Result:
    """The rows of a store, in the order of the specification's cells; of an unfinished sweep those that are done.

    It shows the store as it was when this was opened, also while a run goes on. Iterate over it, index it, or ask.

    Args:
        store: A sweep's folder; is only read.

    Raises:
        StoreError: if there is no sweep, or it was made by a newer version; on reading, if rows are damaged.

    Example:
        >>> result = Result("sweeps/depth")  # doctest: +SKIP
        >>> result.largest_stable("lr", by=("norm",))  # doctest: +SKIP
    """

    def __init__(self, store: str | Path) -> None:
        self.store = Path(store)
        ledger = Ledger(self.store, readonly=True)
        try:
            self.status: Status = ledger.status()
            self._index(ledger)
        finally:
            ledger.close()
        self._reader = ShardReader(self.store)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> Row:
        """The row of this number among those that are done."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"Result: index must be below {len(self)}, got {index}. Iterate over it instead.")
        stretch = self._stretches[self._chunks[index]]
        return self._reader.read(stretch, int(self._starts[index]), int(self._lengths[index]))

    def __iter__(self) -> Iterator[Row]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        told = self.status
        return (
            f"Result({str(self.store)!r}: {told.done} of {told.cells} cells, {told.diverged} diverged, "
            f"{told.failed} failed)"
        )

    def close(self) -> None:
        """Closes the shards; they are opened again when a row is read."""
        self._reader.close()

    def axes(self) -> dict[str, list[Any]]:
        """The names that take more than one value, each with its values in the order of appearance."""
        return queries.axes(self)

    def to_rows(self) -> list[dict[str, Any]]:
        """A flat dictionary for each cell, as ``pandas.DataFrame`` and ``polars.DataFrame`` take it.

        Returns:
            In each: ``key``, every value by its name, ``steps``, of every metric the last figure by its name and
            all of them as ``<metric>_curve``, ``diverged_at``, ``error`` and ``mode``. A value whose name is one
            of these is called ``value_<name>``.
        """
        return [tables.flat(row) for row in self]

    def to_parquet(self, path: str | Path) -> Path:
        """Writes the same table as a Parquet file, whole or not at all, a thousand rows in memory at a time.

        Args:
            path: Where to. Values of mixed type and lists are written as JSON.

        Returns:
            The path.

        Raises:
            InputError: if pyarrow is not installed, or the file cannot be written.
        """
        return tables.write_parquet(self, Path(path))

    def best(
        self, metric: str, *, by: Sequence[str] = (), seed: str = "seed", higher: bool | None = None
    ) -> list[Best]:
        """The best setting of each group, by the mean over seeds: `gainstage.sweep.queries.best`."""
        return queries.best(self, metric, by=by, seed=seed, higher=higher)

    def largest_stable(self, axis: str = "lr", *, by: Sequence[str] | None = None, seed: str = "seed") -> list[Stable]:
        """Up to where training is stable: `gainstage.sweep.queries.largest_stable`."""
        return queries.largest_stable(self, axis, by=self._others(axis, seed, by), seed=seed)

    def range_in_decades(
        self, metric: str, axis: str = "lr", *, tolerance: float = 0.1, by: Sequence[str] | None = None,
        seed: str = "seed", higher: bool | None = None,
    ) -> list[Decades]:  # fmt: skip
        """How wide the good range of an axis is: `gainstage.sweep.queries.range_in_decades`."""
        return queries.range_in_decades(
            self, metric, axis, tolerance=tolerance, by=self._others(axis, seed, by), seed=seed, higher=higher
        )

    def _others(self, axis: str, seed: str, by: Sequence[str] | None) -> tuple[str, ...]:
        if isinstance(by, str):
            raise InputError(f"Result: by must be a sequence of names, got {by!r}. Write ({by!r},).")
        return tuple(name for name in self.axes() if name not in (axis, seed)) if by is None else tuple(by)

    def _index(self, ledger: Ledger) -> None:
        cells = self.status.cells
        chunks, starts, lengths = (np.full(cells, -1, kind) for kind in (np.int32, np.int64, np.int32))
        self._stretches: list[Stretch] = []
        for stretch, positions, sizes in ledger.index():
            ends = stretch.start + np.cumsum(sizes)
            chunks[positions], starts[positions], lengths[positions] = len(self._stretches), ends - sizes, sizes
            self._stretches.append(stretch)
        done = chunks >= 0
        self._chunks, self._starts, self._lengths = chunks[done], starts[done], lengths[done]
