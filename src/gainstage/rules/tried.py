"""What a trial says: for a suspicion, without which it goes far better, and against predictions, where it goes well."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from gainstage.rules.base import Finding, Threshold
from gainstage.trace.records import Trace
from gainstage.trace.training_records import Change, EvaluationRecord, TrialRecord

LEARNED = Threshold(
    "learned",
    0.09,
    "× the loss of a network that knows nothing",
    "networks for development of make accuracy: harmless ones up to 0.083, faults from 0.098 (docs/thresholds.md)",
)
FITTED = Threshold(
    "fitted",
    1e-3,
    "× the loss of a network that knows nothing, on the batches that it was trained on",
    "by definition: of a thousandth nothing is left to learn",
)
KNOWING = Threshold("knowing", 0.9, "× the loss of a network that knows nothing: above it nothing is learned", "OPT002")
RELIEVED = Threshold(
    "relieved",
    0.4,
    "× the loss that a trial ends with, without what is doubtful",
    "networks for development of make accuracy (docs/thresholds.md)",
)
BEHIND = Threshold(
    "behind",
    0.35,
    "× the loss of a network that knows nothing, which a trial ends with as it is",
    "networks for development of make accuracy: faults that one pass does not show from 0.42 (docs/thresholds.md)",
)
# Their findings say that a network trains slowly, badly or not at all; a trial that learns shows that this one does
# not. The others' say that what is learned is not what is meant, or is not what inference computes.
PREDICTIONS = frozenset((
    "INI001", "INI002", "INI003", "INI004", "INI005", "INI006", "INI009", "INI010", "ACT001", "ACT002", "ACT003",
    "GRD001", "GRD002", "GRD003", "GRD005", "NRM001", "NRM006", "NRM007", "NRM012", "NRM013", "NRM015", "OPT001",
    "OPT002", "OPT006", "NUM002", "DAT001", "DAT007",
))  # fmt: skip


# What mends them, so that the same trial with it shows whether they hold. Of other predictions no remedy is sure:
# new weights do not take sigmoids away, nor a scale of zero.
MENDED_BY: Mapping[str, Change] = {
    **dict.fromkeys(("INI002", "INI003", "INI004", "INI005", "INI006", "INI010"), "weights"),
    "OPT006": "parameters", "NRM001": "modes", "DAT001": "inputs",
}  # fmt: skip
MENDED = Threshold(
    "mended", 1.1, "× the loss of the same trial with what was found mended", "the noise of a run (docs/thresholds.md)"
)
HALFWAY = Threshold("halfway", 0.5, "× the loss of a network that knows nothing", "a trial is made again above it, too")


def relief(trace: Trace, change: Change, limit: Threshold = RELIEVED) -> tuple[float, float] | None:
    """What a trial ends with as it is and without what is doubtful, if that is far better; else None.

    Where it learns as it is, the other's being better still is no fault; where the other learns nothing, it is better
    for a milder start alone.
    """
    ends = trace.trial.relief(change) if trace.trial is not None else None
    ignorant = ignorant_loss(trace)
    if ends is None or not ends[1] < limit.value * ends[0]:
        return None
    if ignorant is not None and (ends[0] < LEARNED.value * ignorant or not ends[1] < KNOWING.value * ignorant):
        return None
    return ends


def far_behind(trace: Trace, ends: tuple[float, float]) -> bool:
    """Whether a trial that ends far better without what is doubtful has learned little as it is."""
    ignorant = ignorant_loss(trace)
    return ignorant is None or ends[0] >= BEHIND.value * ignorant


def ignorant_loss(trace: Trace) -> float | None:
    """The first loss or that of the best constant answer, the lower; None where it is not known or not above zero."""
    trial, step = trace.trial, trace.step
    if trial is None or not trial.losses or step is None:
        return None
    found = min(trial.losses[0], step.constant_loss or 0.0)
    return found if found > 0 else None


def told(trace: Trace, ends: tuple[float, float], without: str) -> str:
    """Both ends of a relief, as a sentence."""
    assert trace.trial is not None
    held_out = trace.trial.evaluation is not None and trace.trial.evaluation.unseen
    first = f"at a loss of {ends[0]:.3g}" if math.isfinite(ends[0]) else "outside of the finite numbers"
    where = " on batches held out" if held_out else ""
    return f"A trial of {trace.trial.steps} steps ends {first}{where}, and {without} at {ends[1]:.3g}."


def weighed(findings: Sequence[Finding], trace: Trace) -> list[Finding]:
    """The findings, for information only where they are predictions that the trial refutes, or follow from such.

    Args:
        findings: Ranked, so that they know what they follow from.
        trace: With a trial, or without.
    """
    learned = learned_share(trace)
    if learned is None or trace.trial is None or trace.trial.evaluation is None:
        return list(findings)
    found = [_weighed(finding, trace.trial, trace.trial.evaluation, learned) for finding in findings]
    refuted = {new.code for old, new in zip(findings, found, strict=True) if new.severity != old.severity}
    return [
        replace(finding, severity="info") if finding.consequence_of in refuted and _predicts(finding) else finding
        for finding in found
    ]


def _predicts(finding: Finding) -> bool:
    return finding.code in PREDICTIONS and finding.severity != "info" and finding.evidence.get("kind") != "unlisted"


def _weighed(finding: Finding, trial: TrialRecord, evaluation: EvaluationRecord, learned: float) -> Finding:
    if not _predicts(finding):
        return finding
    if learned >= LEARNED.value:
        return _no_better(finding, trial, learned)
    return replace(
        finding, severity="info",
        message=f"{finding.message} A trial of {trial.steps} steps learns all the same: on {evaluation.batches} "
        f"batches that it was {'not ' if evaluation.unseen else ''}trained on the loss is {evaluation.in_eval:.3g}, "
        f"{learned:.1%} of that of a network that knows nothing.",
        evidence={**finding.evidence, "learned": learned},
    )  # fmt: skip


def _no_better(finding: Finding, trial: TrialRecord, learned: float) -> Finding:
    """The finding, for information only where a trial with what it asks for ends no better."""
    # Tables are no part of what is drawn anew.
    change = None if finding.evidence.get("kind") == "table" else MENDED_BY.get(finding.code)
    ends = trial.relief(change) if change is not None else None
    if ends is None or not ends[0] <= MENDED.value * ends[1] or learned >= HALFWAY.value:
        return finding
    return replace(
        finding, severity="info",
        message=f"{finding.message} A trial of {trial.steps} steps ends no better {_WITH[change or 'lr']}: on batches "
        f"that it was not trained on at a loss of {ends[1]:.3g}, and as it is at {ends[0]:.3g}.",
        evidence={**finding.evidence, "as it is": ends[0], "mended": ends[1]},
    )  # fmt: skip


_WITH: Mapping[Change, str] = {
    "weights": "with the weights drawn anew", "parameters": "if the optimizer holds all parameters",
    "modes": "with its batch norms in training mode", "inputs": "with standardised inputs",
}  # fmt: skip


def learned_share(trace: Trace) -> float | None:
    """The loss after the trial, in eval mode and on batches held out, over that of a network that knows nothing.

    That is the first loss or that of the best constant answer, the lower. None where there is no such trial, or no
    loss that is zero at best. Where no batch could be held out, a fit that leaves nothing to learn is one all the same.
    """
    evaluation, ignorant = trace.trial.evaluation if trace.trial is not None else None, ignorant_loss(trace)
    if evaluation is None or ignorant is None or not evaluation.in_eval >= 0:
        return None
    share = evaluation.in_eval / ignorant
    return share if evaluation.unseen or share < FITTED.value else None
