"""A confrontation: statements that seem to exclude each other, measured on the same networks. Without torch.

Each side has a judge of its own over the same rows, and points to the claims in which it is tested by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic

from gainstage.lab.claim import D, Judge, Measure, Rows, Scope
from gainstage.lab.judge import Judgement

if TYPE_CHECKING:
    from gainstage.lab.claim import Figure


@dataclass(frozen=True)
class Side(Generic[D]):
    """One side's statement.

    Attributes:
        label: A few words, for a table's row.
        statement: What it says of these networks, one sentence.
        source: Who says so.
        claims: Ids of the claims that test it by itself.
        judge: Pure function of the shared rows; its effect is one figure a seed, as a claim's is.
    """

    label: str
    statement: str
    source: str
    claims: tuple[str, ...]
    judge: Judge[D]


@dataclass(frozen=True, eq=False)
class Confrontation(Generic[D]):
    """Two sides or more, one experiment.

    Attributes:
        id: As the user types it.
        title: The question, in a few words.
        question: Why the sides seem to contradict each other.
        sides: In the order of the picture.
        scope: Architecture, data and range.
        caveats: What a reader must know.
        designs: Preset to numbers.
        smoke: As a claim's.
        measure: Rows of plain figures for one seed.
        reading: What the judgements (in the order of the sides) mean together; text that follows from them alone.
        figure: The rows as one picture.
        absent: Why a preset is missing.
    """

    id: str
    title: str
    question: str
    sides: tuple[Side[D], ...]
    scope: Scope
    caveats: tuple[str, ...]
    designs: Mapping[str, D]
    smoke: D
    measure: Measure[D]
    reading: Callable[[Sequence[Judgement]], str]
    figure: Callable[[Rows], Figure]
    absent: Mapping[str, str] | None = None

    @property
    def measures(self) -> Mapping[str, Measure[D]]:
        """What is measured for a seed, by the part of the rows that it gives."""
        return {"nets": self.measure}

    @property
    def judges(self) -> tuple[Judge[D], ...]:
        """All that decides on the rows."""
        return tuple(side.judge for side in self.sides)
