"""The lab's verdicts, as the page shows them; whatever has these attributes is a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gainstage.report.charts import Chart, chart_svg
from gainstage.report.wording import figure

_WORDS = {"supported": "Supported", "refuted": "Refuted", "inconclusive": "Inconclusive", "not-run": "Not run"}


class ClaimLike(Protocol):
    """A statement of the literature."""

    @property
    def id(self) -> str:
        """Its name in the lab."""
        ...

    @property
    def statement(self) -> str:
        """What is claimed, one sentence."""
        ...

    @property
    def source(self) -> str:
        """Where it is claimed."""
        ...


class VerdictLike(Protocol):
    """What the lab measured on a claim."""

    @property
    def claim(self) -> ClaimLike:
        """What was tested."""
        ...

    @property
    def outcome(self) -> str:
        """``supported``, ``refuted``, ``inconclusive`` or ``not-run``."""
        ...

    @property
    def effect(self) -> float | None:
        """The stated effect as measured."""
        ...

    @property
    def interval(self) -> tuple[float, float] | None:
        """Its 95 % interval."""
        ...

    @property
    def n(self) -> int:
        """Over how many seeds."""
        ...

    @property
    def why(self) -> str:
        """Why this outcome, in words."""
        ...

    def figure(self) -> Chart | None:
        """The measurement as a chart."""
        ...


@dataclass(frozen=True)
class VerdictView:
    """What the template shows of one verdict."""

    anchor: str
    claim: ClaimLike
    outcome: str
    word: str
    measured: str
    why: str
    svg: str


def verdict_views(verdicts: Sequence[VerdictLike]) -> tuple[VerdictView, ...]:
    """The verdicts in the order given; a refuted one is shown like any other."""
    return tuple(_view(verdict, number) for number, verdict in enumerate(verdicts))


def _view(verdict: VerdictLike, number: int) -> VerdictView:
    chart = verdict.figure() if verdict.outcome != "not-run" else None
    return VerdictView(
        anchor=f"claim-{verdict.claim.id}",
        claim=verdict.claim,
        outcome=verdict.outcome if verdict.outcome in _WORDS else "inconclusive",
        word=_WORDS.get(verdict.outcome, verdict.outcome),
        measured=_measured(verdict),
        why=verdict.why,
        svg="" if chart is None else chart_svg(chart, prefix=f"verdict{number}"),
    )


def _measured(verdict: VerdictLike) -> str:
    if verdict.effect is None or verdict.outcome == "not-run":
        return ""
    ends = verdict.interval
    interval = f", 95 % interval {figure(ends[0])} to {figure(ends[1])}" if ends else ""
    return f"effect {figure(verdict.effect)}{interval}, n = {verdict.n}"
