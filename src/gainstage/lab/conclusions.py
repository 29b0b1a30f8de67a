"""From the rows of an experiment to its result: a verdict for a claim, a hearing for a confrontation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gainstage.lab.claim import Claim, Design
from gainstage.lab.confrontation import Confrontation
from gainstage.lab.hearing import Hearing, SideResult
from gainstage.lab.judge import Row, with_control
from gainstage.lab.seeds import Experiment, device_name, versions
from gainstage.lab.verdict import ControlResult, Verdict

Result = Verdict | Hearing


@dataclass(frozen=True)
class Measured:
    """An experiment with its rows.

    Attributes:
        experiment, design, preset: What was measured.
        seeds: Those that were asked for.
        fingerprint: Of all that decides.
        rows: Of all seeds.
        seconds: Spent on them.
    """

    experiment: Experiment
    design: Design
    preset: str
    seeds: tuple[int, ...]
    fingerprint: str
    rows: tuple[Row, ...]
    seconds: float

    def provenance(self) -> dict[str, Any]:
        """The fields that every result has of how it was made."""
        return {
            "seeds": self.seeds, "design_hash": self.fingerprint, "versions": versions(),
            "device": device_name(self.design), "seconds": self.seconds, "rows": self.rows,
        }  # fmt: skip


def concluded(found: Measured) -> Result:
    """The result of rows that are complete."""
    if isinstance(found.experiment, Claim):
        return _verdict(found.experiment, found)
    return _hearing(found.experiment, found)


def not_run(experiment: Experiment, preset: str, why: str) -> Result:
    """The result of what was not measured."""
    if isinstance(experiment, Claim):
        return Verdict(
            experiment.id, experiment.statement, "not-run", preset, experiment.scope, why,
            predicted=experiment.predicted, caveats=experiment.caveats,
        )  # fmt: skip
    return Hearing(
        experiment.id, experiment.title, experiment.question, "not-run", preset, experiment.scope, why=why,
        caveats=experiment.caveats,
    )  # fmt: skip


def unmeasured(found: Measured, why: str) -> Result:
    """The result of a measurement that failed."""
    claim = found.experiment
    provenance: dict[str, Any] = {**found.provenance(), "rows": ()}
    if isinstance(claim, Claim):
        return Verdict(
            claim.id, claim.statement, "inconclusive", found.preset, claim.scope, why,
            predicted=claim.predicted, caveats=claim.caveats, **provenance,
        )  # fmt: skip
    return Hearing(
        claim.id, claim.title, claim.question, "inconclusive", found.preset, claim.scope, why=why,
        caveats=claim.caveats, **provenance,
    )  # fmt: skip


def kind_of(result: Result) -> str:
    """How a store calls it."""
    return "verdict" if isinstance(result, Verdict) else "hearing"


def _verdict(claim: Claim[Any], found: Measured) -> Verdict:
    control = claim.control.judge(_part(found.rows, "control"), found.design)
    judged = claim.judge(_part(found.rows, "claim"), found.design)
    held = with_control(judged, control, claim.control.statement)
    return Verdict(
        claim_id=claim.id, statement=claim.statement, outcome=held.outcome, predicted=claim.predicted,
        preset=found.preset, scope=claim.scope, why=held.why, effect=held.effect, interval=held.interval, n=held.n,
        control=ControlResult(statement=claim.control.statement, **asdict(control)), caveats=claim.caveats,
        **found.provenance(),
    )  # fmt: skip


def _hearing(asked: Confrontation[Any], found: Measured) -> Hearing:
    judgements = [side.judge(found.rows, found.design) for side in asked.sides]
    sides = tuple(
        SideResult(side.label, side.statement, side.source, side.claims, **asdict(judgement))
        for side, judgement in zip(asked.sides, judgements, strict=True)
    )
    unclear = all(judgement.outcome == "inconclusive" for judgement in judgements)
    return Hearing(
        confrontation_id=asked.id, title=asked.title, question=asked.question,
        outcome="inconclusive" if unclear else "heard", preset=found.preset, scope=asked.scope, sides=sides,
        reading=asked.reading(judgements), caveats=asked.caveats, **found.provenance(),
    )  # fmt: skip


def _part(rows: Sequence[Row], part: str) -> list[Row]:
    return [row for row in rows if row["part"] == part]
