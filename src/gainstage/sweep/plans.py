"""What a plan says: which cells are computed together, how, and why so."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from gainstage.sweep.cells import Cell


@dataclass(frozen=True)
class Chunk:
    """Cells that are computed together.

    Attributes:
        cells: Alike in all but what may vary within a chunk.
        mode: ``vectorised`` or ``looped``, for `gainstage.sweep.execute`.
        why: The measurement that chose the mode, or what forbids another.
        seconds: Expected on one core.
    """

    cells: tuple[Cell, ...]
    mode: str
    why: str
    seconds: float


@dataclass(frozen=True)
class Plan:
    """Chunks in the order of their work, and over how many processes they are best spread.

    Attributes:
        chunks: Every cell is in one of them.
        workers: Processes of one thread each; 1: this process.
    """

    chunks: tuple[Chunk, ...]
    workers: int = 1

    @property
    def seconds(self) -> float:
        """Expected for all of it."""
        return sum(chunk.seconds for chunk in self.chunks) / self.workers

    def __str__(self) -> str:
        cells = sum(len(chunk.cells) for chunk in self.chunks)
        head = f"{cells} cells in {len(self.chunks)} chunks over {self.workers} processes, about {self.seconds:.1f} s"
        alike = Counter((chunk.mode, chunk.why) for chunk in self.chunks)
        sizes = {key: [len(c.cells) for c in self.chunks if (c.mode, c.why) == key] for key in alike}
        lines = [
            f"  {count} x {mode}, {_range(sizes[mode, why])} cells each: {why}" for (mode, why), count in alike.items()
        ]
        return "\n".join([head, *lines])


def _range(sizes: list[int]) -> str:
    return f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
