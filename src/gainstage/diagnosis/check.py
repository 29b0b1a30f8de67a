"""`diagnose`: record, let every rule judge, rank. The public `check` wraps its result into a report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from gainstage.diagnosis.asked_loss import asked_loss, indifferent
from gainstage.diagnosis.asked_prior import asked_prior
from gainstage.diagnosis.eval_dropout import dropout_in_eval
from gainstage.diagnosis.first_step import first_step
from gainstage.diagnosis.further import further_labels
from gainstage.diagnosis.leaks import leaked_targets
from gainstage.diagnosis.mixing import mixing
from gainstage.diagnosis.records import Diagnosis
from gainstage.diagnosis.reshaped import confirmed_reshapes
from gainstage.diagnosis.selection import ModuleIgnores, ModulePatterns, Patterns, module_ignores, selected
from gainstage.diagnosis.suspicions import suspicions
from gainstage.diagnosis.through_time import through_time
from gainstage.diagnosis.trial import short_trial
from gainstage.errors import InputError, SubjectError
from gainstage.rules import RULES, Rule, ranked
from gainstage.rules.base import Finding, NotAssessed
from gainstage.rules.tried import weighed
from gainstage.seeding import preserved_rng
from gainstage.trace import Trace
from gainstage.trace.recorder import recording
from gainstage.trace.subject import Subject, as_subject
from gainstage.trace.training_records import Change, StepRecord, TrialRecord

DEFECT = "a defect of the rule"


def diagnose(
    subject_or_model: Any,
    batches: Any = None,
    loss: Any = None,
    *,
    optimizer: Any = None,
    steps: int = 0,
    select: Patterns | None = None,
    ignore: Patterns | None = None,
    per_module_ignores: ModulePatterns | None = None,
    seed: int = 0,
) -> Diagnosis:
    """Records the subject and judges the trace by the selected rules.

    Args:
        subject_or_model, batches, loss, optimizer: As in `gainstage.Subject`.
        steps: If positive, also trains a copy for so many steps; needs an optimizer.
        select, ignore: Codes, prefixes of codes (``"INI"``) or names of rules; one, several, or comma-separated.
        per_module_ignores: Glob over dotted module paths to codes that are ignored there.
        seed: Of all random generators during the measurement.

    Returns:
        The diagnosis.

    Raises:
        InputError: if an argument is out of its range or a code is unknown.
        SubjectError: if the model, batch and loss do not fit together.
    """
    if steps < 0:
        raise InputError(f"check: steps must be 0 or more, got {steps}. Leave it out to check without a trial.")
    rules, ignores = selected(select, ignore), module_ignores(per_module_ignores)
    subject = as_subject(subject_or_model, batches, loss, optimizer)
    if steps and subject.optimizer is None:
        raise SubjectError(f"check: steps={steps} needs an optimizer, got None. Pass optimizer=, or leave steps out.")
    with preserved_rng(seed):
        with preserved_rng():
            # Read once: a loader may start its workers anew each time.
            looked = subject.replace(batches=[subject.batches.first()])
        recorded = recording(looked)
        trace = recorded.trace
        labels = trace.loss_record.labels if trace.loss_record is not None else None
        if labels is not None and labels.refused:
            # No step can be made with them; on an accelerator trying would take the process down.
            return judged(replace(trace, step=StepRecord(reason=labels.refused)), rules, ignores)
        asked = asked_loss(looked, recorded.outputs, trace.loss_record)
        asked = asked_prior(looked, recorded.returned, asked)
        if asked is not None and indifferent(looked, recorded.returned, trace):
            asked = replace(asked, indifferent=True)
        trace = replace(trace, loss_record=asked)
        trace = replace(
            trace, mixing=mixing(looked, trace, seed), further=further_labels(subject, trace),
            leak=leaked_targets(looked, seed), reshapes=confirmed_reshapes(looked, trace),
            dropped_in_eval=dropout_in_eval(looked, trace, seed),
        )  # fmt: skip
        if subject.optimizer is not None:
            trace = replace(trace, step=first_step(looked, seed, recorded))
        if steps:
            trace = replace(trace, through_time=through_time(looked, seed))
            doubts = suspicions(trace, judged(trace, rules, ignores).findings)
            trace = replace(trace, trial=_trial(subject, steps, seed, doubts))
    return judged(trace, rules, ignores)


def _trial(subject: Subject, steps: int, seed: int, suspected: tuple[Change, ...]) -> TrialRecord:
    """A trial; one that fails, as of a model that cannot be copied, leaves what else was found standing."""
    try:
        return short_trial(subject, steps, seed, suspected)
    except SubjectError as error:
        return TrialRecord(steps, (), reason=" ".join(str(error).split())[:300])


def judged(trace: Trace, rules: Iterable[Rule] = RULES, ignores: ModuleIgnores | None = None) -> Diagnosis:
    """The rules' findings on a trace but for those that are ignored where they are, weighed by its trial and ranked."""
    findings: list[Finding] = []
    not_assessed: list[NotAssessed] = []
    rules = tuple(rules)
    for rule in rules:
        for result in _results(rule, trace):
            if isinstance(result, Finding):
                # Before they are ranked: what is not reported explains nothing.
                if ignores is not None and ignores.cover(result):
                    continue
                findings.append(replace(result, claims=rule.claims))
            else:
                not_assessed.append(result)
    by_code = {rule.code: rule for rule in rules}
    in_order = ranked(findings, by_code)
    after = weighed(in_order, trace)
    # What is merely worth knowing explains nothing, and stands last.
    in_order = in_order if after == list(in_order) else ranked(after, by_code)
    return Diagnosis(in_order, tuple(not_assessed), trace)


def _results(rule: Rule, trace: Trace) -> Iterable[Finding | NotAssessed]:
    try:
        return list(rule.check(trace))
    except Exception as error:  # One rule's defect must not take the others' findings away.
        where = f"{type(error).__name__}: {error}"
        return [NotAssessed(rule.code, f"{DEFECT}, please report it with this line: {where}")]
