"""What a diagnosis and a trial are, as records; without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median

from gainstage.remedies.fix import Fix
from gainstage.rules.base import SEVERITIES, Finding, NotAssessed
from gainstage.trace.records import Trace


@dataclass(frozen=True)
class Diagnosis:
    """The findings on one subject, root causes before their consequences, then by severity."""

    findings: tuple[Finding, ...]
    not_assessed: tuple[NotAssessed, ...]
    trace: Trace

    @property
    def ok(self) -> bool:
        """Whether there is no error and no warning."""
        return all(finding.severity == "info" for finding in self.findings)

    def fails(self, fail_on: str = "warning") -> bool:
        """Whether there is a finding of this severity or a graver one; of ``"never"`` there is none."""
        grave = SEVERITIES[: SEVERITIES.index(fail_on) + 1] if fail_on in SEVERITIES else ()
        return any(finding.severity in grave for finding in self.findings)

    def fixes(self) -> tuple[Fix, ...]:
        """The fixes of all findings in their order, each once."""
        unique: list[Fix] = []
        for finding in self.findings:
            if finding.fix is not None and not any(finding.fix.same_as(fix) for fix in unique):
                unique.append(finding.fix)
        return tuple(unique)


@dataclass(frozen=True)
class Trial:
    """A paired trial: the same batches and the same random numbers, with the fixes and without.

    Attributes:
        before, after: Loss curves, one per seed, in the same unit; a run that leaves the finite numbers ends there.
        improved: Whether the whole interval of the effect lies above zero.
        effect: Mean over seeds of (final loss without - final loss with).
        interval: Its 95 % confidence interval over the paired seeds.
        fixes: What was applied.
        steps: Optimizer steps a run.
        optimizer: What trained both, in words.
        note: What the reader must know to read the figures, one sentence, or "".
    """

    before: tuple[tuple[float, ...], ...]
    after: tuple[tuple[float, ...], ...]
    improved: bool
    effect: float
    interval: tuple[float, float]
    fixes: tuple[Fix, ...] = ()
    steps: int = 0
    optimizer: str = ""
    note: str = ""

    @property
    def finals(self) -> tuple[tuple[float, float], ...]:
        """The final losses (without, with) of each pair, of whose differences ``effect`` is the mean."""
        pairs = tuple(zip(self.before, self.after, strict=True))
        return tuple((final_loss(before, pair), final_loss(after, pair)) for pair in pairs for before, after in [pair])


def final_loss(curve: tuple[float, ...], pair: tuple[tuple[float, ...], ...]) -> float:
    """The median of a run's last tenth; the pair's largest finite loss for a run that left the finite numbers."""
    if not math.isfinite(curve[-1]):
        return max((value for other in pair for value in other if math.isfinite(value)), default=0.0)
    return median(curve[-max(5, len(curve) // 10) :])
