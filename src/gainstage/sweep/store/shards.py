"""Rows on disk: each process appends to a shard of its own, and the ledger says where each row is.

MessagePack, because JSON knows no nan and no infinity, which is what a diverged run consists of; Parquet would need
a large dependency, and cannot be appended to. A shard is one map after the other and can be read without the
ledger. Nothing that was written is touched again: what a kill tears is the end of a shard, which no ledger names.
One file for each chunk, replaced into place, would be as safe; but ten thousand chunks would be as many files, at
twice the time each (two calls of fsync in place of one).
"""

from __future__ import annotations

import mmap
import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gainstage.sweep.cells import Row
from gainstage.sweep.store import troubles
from gainstage.sweep.store.ledger import Stretch

FOLDER = "shards"
_encoder = msgspec.msgpack.Encoder(enc_hook=lambda value: value.item())  # numpy's and torch's scalars
_decoder = msgspec.msgpack.Decoder(Row)


@dataclass(frozen=True)
class Written:
    """Where rows were put: from ``start``, one after the other."""

    start: int
    lengths: tuple[int, ...]
    checksum: int


def shard_path(folder: Path, name: str) -> Path:
    """Where a shard is in a store."""
    return folder / FOLDER / f"{name}.msgpack"


class ShardWriter:
    """Appends rows to a new shard.

    Args:
        folder: The store's.
        name: The shard's; must be new.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self.path = folder, shard_path(folder, name)
        try:
            self.path.parent.mkdir(exist_ok=True)
            self._file = open(self.path, "xb", buffering=0)  # noqa: SIM115 - closed by close
        except OSError as error:
            raise troubles.broken(folder, error) from error
        self._end = 0

    def fileno(self) -> int:
        """The open file's descriptor."""
        return self._file.fileno()

    def append(self, chunks: Sequence[Sequence[Row]]) -> list[Written]:
        """Writes the rows of some chunks; they are on disk when this returns.

        Raises:
            StoreError: if they cannot be written; the shard then ends as before, or in bytes that nothing names.
        """
        parts = [[_encoder.encode(row) for row in rows] for rows in chunks]
        written: list[Written] = []
        start = self._end
        for part in parts:
            written.append(Written(start, tuple(map(len, part)), zlib.crc32(b"".join(part))))
            start += sum(written[-1].lengths)
        try:
            self._write(b"".join(row for part in parts for row in part))
        except OSError as error:
            raise troubles.broken(self._folder, error) from error
        self._end = start
        return written

    def close(self) -> None:
        """Closes the shard, and removes it if it is empty."""
        self._file.close()
        if not self._end:
            self.path.unlink(missing_ok=True)

    def _write(self, content: bytes) -> None:
        # A failed write may have left a part behind.
        self._file.seek(self._end)
        rest = memoryview(content)
        while rest:
            rest = rest[self._file.write(rest) :]
        os.fsync(self._file.fileno())


class ShardReader:
    """Reads rows wherever they are; a chunk is checked whole when its first row is read.

    Args:
        folder: The store's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._maps: dict[str, mmap.mmap] = {}
        self._checked: set[int] = set()

    def read(self, stretch: Stretch, start: int, length: int) -> Row:
        """The row of these bytes of a stretch's shard.

        Raises:
            StoreError: if the chunk's bytes are not those that were written.
        """
        content = self._map(stretch)
        if stretch.id not in self._checked:
            if not _sound(content, stretch):
                raise troubles.torn(self._path(stretch), "other bytes than were written", stretch.cells)
            self._checked.add(stretch.id)
        return _decoder.decode(memoryview(content)[start : start + length])

    def close(self) -> None:
        """Closes all shards."""
        for content in self._maps.values():
            content.close()
        self._maps.clear()

    def _map(self, stretch: Stretch) -> mmap.mmap:
        content = self._maps.get(stretch.shard)
        if content is not None and len(content) >= stretch.end:
            return content
        try:
            with open(self._path(stretch), "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size < stretch.end:
                    got = f"{size} of {stretch.end} bytes"
                    raise troubles.torn(self._path(stretch), got, stretch.cells)
                content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            raise troubles.torn(self._path(stretch), "none", stretch.cells) from None
        self._maps[stretch.shard] = content
        return content

    def _path(self, stretch: Stretch) -> Path:
        return shard_path(self._folder, stretch.shard)


def too_short(folder: Path, stretches: Iterable[Stretch]) -> list[Stretch]:
    """Those whose shard ends before them or is missing: a glance at the sizes, without reading."""
    sizes: dict[str, int] = {}
    lost: list[Stretch] = []
    for stretch in stretches:
        if stretch.shard not in sizes:
            path = shard_path(folder, stretch.shard)
            sizes[stretch.shard] = path.stat().st_size if path.is_file() else -1
        if sizes[stretch.shard] < stretch.end:
            lost.append(stretch)
    return lost


def unsound(folder: Path, stretches: Iterable[Stretch]) -> list[Stretch]:
    """Those whose bytes are missing or not what was written; reads everything."""
    lost: list[Stretch] = []
    for stretch in stretches:
        path = shard_path(folder, stretch.shard)
        if not path.is_file():
            lost.append(stretch)
            continue
        with open(path, "rb") as file:
            file.seek(stretch.start)
            content = file.read(stretch.length)
        if zlib.crc32(content) != stretch.checksum:
            lost.append(stretch)
    return lost


def _sound(content: mmap.mmap, stretch: Stretch) -> bool:
    with memoryview(content) as view, view[stretch.start : stretch.end] as part:
        return zlib.crc32(part) == stretch.checksum
