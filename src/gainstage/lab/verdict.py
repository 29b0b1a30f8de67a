"""What a run found, as a record: everything needed to read it, to repeat it and to draw it. Without torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from gainstage.errors import InputError
from gainstage.lab.catalogue import find
from gainstage.lab.claim import Scope
from gainstage.lab.judge import Outcome, Row
from gainstage.trace import serialization

if TYPE_CHECKING:
    from gainstage.lab.claim import Claim, Figure

SCHEMA_VERSION = 1
NO_DIRECTION = "no direction was predicted"


@dataclass(frozen=True)
class ControlResult:
    """What the control showed; with any outcome but ``supported`` the verdict is inconclusive."""

    statement: str
    outcome: Outcome
    n: int
    why: str
    effect: float | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Verdict:
    """The outcome of one claim at one preset.

    Attributes:
        claim_id: The claim's id; `claim` is the claim itself.
        outcome: ``supported``, ``refuted``, ``inconclusive`` or ``not-run``.
        effect, interval: The judged figure and its 95 % interval; (error, error) for an exact statement.
        n: How many figures the judgement rests on.
        why: The reason, in words.
        predicted: The outcome that was expected before the run; None if no direction was predicted.
        rows: One flat dict a measured figure, with ``seed`` and ``part`` (``claim`` or ``control``).
        scope: Architecture, data and range that it is about.
        design_hash: Of the design's numbers and the source text of measurement, judges and control.
        versions: Of python and the packages that measured.
        device: What they measured on.
        seconds: Spent on measuring, also where a store answered.
    """

    claim_id: str
    statement: str
    outcome: Literal["supported", "refuted", "inconclusive", "not-run"]
    preset: str
    scope: Scope
    why: str
    predicted: Outcome | None = None
    effect: float | None = None
    interval: tuple[float, float] | None = None
    n: int = 0
    control: ControlResult | None = None
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
        """Of the claim."""
        return self.claim_id

    @property
    def as_predicted(self) -> bool | None:
        """Whether the outcome is the predicted one; None if none was predicted."""
        return None if self.predicted is None else self.outcome == self.predicted

    @property
    def surprises(self) -> bool:
        """Whether the claim was decided, and against what was predicted."""
        return self.outcome in ("supported", "refuted") and self.as_predicted is False

    @property
    def prediction_note(self) -> str:
        """What a reader must be told beside the outcome: that it surprises, or that none was predicted; else empty."""
        if self.predicted is None:
            return NO_DIRECTION
        return f"{self.predicted} was predicted" if self.surprises else ""

    @property
    def claim(self) -> Claim[Any]:
        """The claim that it is about.

        Raises:
            UnknownNameError: if this version of gainstage no longer has it.
        """
        return find(self.claim_id, "claim")

    def figure(self) -> Figure:
        """The rows as an altair chart.

        Raises:
            InputError: if there are no rows, because the claim was not run.
        """
        if not self.rows:
            raise InputError(
                f"figure: the claim must have been run, got {self.outcome!r} ({self.claim_id}). {self.why}"
            )
        return self.claim.figure(self.rows)

    def to_json(self) -> str:
        """Lossless JSON; fields that are None are left out."""
        return serialization.to_json(self)

    @classmethod
    def from_json(cls, text: str) -> Verdict:
        """The inverse of `to_json`.

        Raises:
            InputError: if the text is not a verdict, or one of another schema version.
        """
        return serialization.from_json(text, cls, SCHEMA_VERSION)
