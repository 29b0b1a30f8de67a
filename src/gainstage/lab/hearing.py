"""What a confrontation came to, as a record. Without torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from gainstage.errors import InputError
from gainstage.lab.catalogue.confrontations import find
from gainstage.lab.claim import Scope
from gainstage.lab.judge import Outcome, Row
from gainstage.trace import serialization

if TYPE_CHECKING:
    from gainstage.lab.claim import Figure
    from gainstage.lab.confrontation import Confrontation

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class SideResult:
    """What one side's statement came to on these networks."""

    label: str
    statement: str
    source: str
    claims: tuple[str, ...]
    outcome: Outcome
    n: int
    why: str
    effect: float | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Hearing:
    """The outcome of one confrontation at one preset.

    Attributes:
        confrontation_id: Its id; `confrontation` is the thing itself.
        title, question: As in the confrontation.
        outcome: ``heard``; ``inconclusive`` if a side could not be judged; ``not-run``.
        sides: What each came to.
        reading: What that means together.
        why: Why it was not run, or could not be measured.
        scope, preset, seeds, design_hash, versions, device, seconds, rows: As a verdict's.
    """

    confrontation_id: str
    title: str
    question: str
    outcome: Literal["heard", "inconclusive", "not-run"]
    preset: str
    scope: Scope
    sides: tuple[SideResult, ...] = ()
    reading: str = ""
    why: str = ""
    caveats: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    design_hash: str = ""
    versions: dict[str, str] = field(default_factory=dict[str, str])
    device: str = ""
    seconds: float = 0.0
    rows: tuple[Row, ...] = ()
    schema_version: int = SCHEMA_VERSION

    @property
    def id(self) -> str:
        """Of the confrontation."""
        return self.confrontation_id

    @property
    def confrontation(self) -> Confrontation[Any]:
        """What it is about.

        Raises:
            UnknownNameError: if this version of gainstage no longer has it.
        """
        return find(self.confrontation_id, "confrontation")

    def figure(self) -> Figure:
        """The rows as an altair chart.

        Raises:
            InputError: if there are no rows, because it was not run.
        """
        if not self.rows:
            raise InputError(
                f"figure: it must have been run, got {self.outcome!r} ({self.confrontation_id}). {self.why}"
            )
        return self.confrontation.figure(self.rows)

    def to_json(self) -> str:
        """Lossless JSON; fields that are None are left out."""
        return serialization.to_json(self)

    @classmethod
    def from_json(cls, text: str) -> Hearing:
        """The inverse of `to_json`.

        Raises:
            InputError: if the text is not a hearing, or one of another schema version.
        """
        return serialization.from_json(text, cls, SCHEMA_VERSION)
