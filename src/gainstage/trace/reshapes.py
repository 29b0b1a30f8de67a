"""Reshapes to the sizes of a transposed tensor: the shape is the one that was wanted, and the values stay in line."""

from __future__ import annotations

from collections.abc import Sequence

from gainstage.trace.records import ReshapeRecord

OPERATIONS = frozenset(("view", "_unsafe_view", "reshape", "_reshape_alias"))
# Padded by a column and read by rows that are longer by one, a matrix is skewed on purpose (relative positions).
SKEWS = frozenset(("cat", "constant_pad_nd", "pad"))
MOST = 8
PLACES = 3  # dimensions: samples, places, features


class Reshapes:
    """Those of a pass, each once, in the order of execution."""

    def __init__(self) -> None:
        self.found: dict[ReshapeRecord, None] = {}

    def note(self, module: str, before: Sequence[int], after: Sequence[int]) -> None:
        """Keeps it if the sizes are those of a transposed tensor."""
        if (exchanged(before, after) or beside(before, after)) and len(self.found) < MOST:
            self.found.setdefault(ReshapeRecord(module, tuple(before), tuple(after)))
        else:
            self.note_in_loss(before, after)

    def note_in_loss(self, before: Sequence[int], after: Sequence[int]) -> None:
        """Keeps it if channels in dimension 1 of several places become rows of so many as they are."""
        if beheaded(before, after) and len(self.found) < MOST:
            self.found.setdefault(ReshapeRecord("", tuple(before), tuple(after), in_loss=True))


def exchanged(before: Sequence[int], after: Sequence[int]) -> bool:
    """Whether one has the other's sizes in another order; dimensions of size 1 stand wherever they like."""
    ours, theirs = ([size for size in shape if size != 1] for shape in (before, after))
    return ours != theirs and sorted(ours) == sorted(theirs)


def beside(before: Sequence[int], after: Sequence[int]) -> bool:
    """Whether features are cut into parts that stand beside the samples, as heads are, with the places left between.

    (samples, places, heads · features) becomes (samples · heads, places, features) by moving heads past the places,
    which a view does not do.
    """
    if len(before) != len(after) or len(before) != PLACES or before[1] != after[1] or before[1] == 1:
        return False
    heads = after[0] // before[0] if before[0] else 0
    return heads > 1 and after[0] == heads * before[0] and before[2] == heads * after[2]


def beheaded(before: Sequence[int], after: Sequence[int]) -> bool:
    """Whether (samples, channels, places) are cut into rows of as many values as there are channels."""
    if len(before) <= 2 or len(after) != 2 or before[0] == after[0]:  # one place alone is none among others
        return False
    return 1 < before[1] == after[1] != before[-1]
