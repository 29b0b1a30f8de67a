"""What a claim is made of: its text, its numbers, how it is measured, judged and shown. Without torch.

All of this is fixed before a run, and a hash of it (`gainstage.lab.fingerprint`) stands in every verdict.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from gainstage.lab.judge import Judgement, Outcome, Row

if TYPE_CHECKING:
    import altair as alt

    Figure = alt.Chart | alt.LayerChart | alt.FacetChart | alt.HConcatChart | alt.VConcatChart

Group = Literal["initialization", "normalization", "how-it-helps", "depth", "numbers"]
# How the source is known: the statement was compared with the source itself; a secondary note quotes it; it is said so
# in many places, and the source was not read; it is an answer or an overview that gives no experiment.
Citation = Literal["read", "quoted", "unread", "informal"]
PRESETS = ("quick", "full")


@dataclass(frozen=True)
class Design:
    """The numbers of a claim at one preset; a claim adds its own fields.

    Attributes:
        seeds: How many the verdict must rest on; fewer make it inconclusive.
    """

    seeds: int


D = TypeVar("D", bound=Design)
Rows = Sequence[Row]
Measure = Callable[[D, int], Rows]
Judge = Callable[[Rows, D], Judgement]


@dataclass(frozen=True)
class Deferred:
    """A function named by its home and imported when it is first called, so that listing needs no torch."""

    home: str
    name: str

    def __call__(self, design: Any, seed: int) -> Rows:
        """What the function returns."""
        return getattr(importlib.import_module(self.home), self.name)(design, seed)


@dataclass(frozen=True)
class Scope:
    """What was measured, on what and over which range; a verdict says nothing beyond it."""

    architecture: str
    data: str
    range: str


@dataclass(frozen=True)
class Control(Generic[D]):
    """A variation in which the effect must vanish or turn round.

    Attributes:
        statement: What must be seen, one sentence; it holds if ``judge`` finds it supported.
    """

    statement: str
    measure: Measure[D]
    judge: Judge[D]


@dataclass(frozen=True, eq=False)
class Claim(Generic[D]):
    """One statement of the literature, and the experiment that tests it.

    Attributes:
        id: As the user types it (``he-variance``).
        statement: What is claimed, in plain words with its formula.
        source: Who says so, where.
        citation: How that is known.
        prediction: What was expected before the run, and from whom.
        predicted: The outcome that this means; a claim may be predicted to be refuted. None if nobody predicted one.
        caveats: What a reader must know before using the verdict.
        designs: Preset to numbers; a preset that is missing cannot be run.
        smoke: Numbers so small that every line of the measurement runs in a second or two: for tests, never a verdict.
        measure: Rows of plain figures for one seed, from generators of its own.
        judge: Pure function of those rows.
        figure: The rows (the control's too, ``part`` tells them apart) as a chart.
        absent: Why a preset is missing, by preset.
    """

    id: str
    group: Group
    statement: str
    source: str
    prediction: str
    scope: Scope
    designs: Mapping[str, D]
    smoke: D
    measure: Measure[D]
    judge: Judge[D]
    control: Control[D]
    figure: Callable[[Rows], Figure]
    citation: Citation = "read"
    predicted: Outcome | None = "supported"
    caveats: tuple[str, ...] = ()
    absent: Mapping[str, str] | None = None

    @property
    def measures(self) -> Mapping[str, Measure[D]]:
        """What is measured for a seed, by the part of the rows that it gives."""
        return {"claim": self.measure, "control": self.control.measure}

    @property
    def judges(self) -> tuple[Judge[D], ...]:
        """All that decides on the rows."""
        return (self.judge, self.control.judge)
