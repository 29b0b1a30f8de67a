"""What the rules say of a case, with and without a trial. The losses of trials are kept, the rules are asked anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

import gainstage as gs
from accuracy.cases import Case, Extent, built
from accuracy.setup import Setup, batches
from accuracy.store import Row, Store
from gainstage.diagnosis.check import DEFECT, judged
from gainstage.diagnosis.suspicions import suspicions
from gainstage.diagnosis.trial import short_trial, trial_of
from gainstage.errors import GainstageError
from gainstage.landscape.training import BATCHES
from gainstage.rules.base import Finding
from gainstage.trace.training_records import EvaluationRecord, VariantRecord


@dataclass(frozen=True)
class Alarm:
    """A warning or an error; ``root`` is the code of the finding that explains it, or its own."""

    code: str
    root: str


@dataclass(frozen=True)
class Checked:
    """The alarms of one check in the order of the report, by whether it had a trial; ``raised`` where it had none."""

    case: Case
    seed: int
    alone: tuple[Alarm, ...] = ()
    trial: tuple[Alarm, ...] = ()
    raised: str = ""


def subject_of(setup: Setup, seed: int) -> gs.Subject:
    setup.model.train()
    # One pass over the data, as of a loader.
    series = list(islice(batches(setup, seed), min(BATCHES, len(setup.data.train_inputs) // setup.batch_size)))
    return gs.Subject(setup.model, series, setup.loss, setup.optimizer())


def trial_row(case: Case, seed: int, extent: Extent) -> Row:
    """The losses of the trial that a check of this case makes, and how its variants end."""
    setup = built(case, seed, extent)
    assert setup is not None
    try:
        subject = subject_of(setup, seed)
        report = gs.check(subject, seed=seed)
        trial = short_trial(subject, extent.trial, seed, suspicions(report.trace, report.findings))
    except (GainstageError, RuntimeError, ValueError, IndexError) as error:
        return {"losses": None, "raised": f"{type(error).__name__}: {error}"}
    return {
        "losses": [float(f"{loss:.6g}") for loss in trial.losses],
        "variants": [asdict(variant) for variant in trial.variants],
        "evaluation": None if trial.evaluation is None else asdict(trial.evaluation),
    }


def checked(cases: Sequence[Case], store: Store, extent: Extent, workers: int = 1) -> list[Checked]:
    """Of every case; missing trials are run first."""
    jobs = [(case, seed) for case in cases for seed in extent.checked(case)]
    rows = store.filled(jobs, trial_row, extent, workers)
    return [_checked(case, seed, rows[case, seed], extent) for case, seed in jobs]


def _checked(case: Case, seed: int, row: Mapping[str, Any], extent: Extent) -> Checked:
    setup = built(case, seed, extent)
    assert setup is not None
    subject = subject_of(setup, seed)
    try:
        report = gs.check(subject, seed=seed)
    # A refusal: it belongs into the report and must not end the run.
    except Exception as error:
        return Checked(case, seed, raised=f"{type(error).__name__}: {error}")
    defects = [entry.reason for entry in report.not_assessed if entry.reason.startswith(DEFECT)]
    if defects:
        return Checked(case, seed, raised=defects[0])
    trace = report.trace
    labels = trace.loss_record.labels if trace.loss_record is not None else None
    if row["losses"] is not None and not (labels is not None and labels.refused):
        variants = tuple(VariantRecord(**variant) for variant in row["variants"])
        evaluation = None if row["evaluation"] is None else EvaluationRecord(**row["evaluation"])
        trial = trial_of(extent.trial, row["losses"], subject.batches.take(BATCHES), variants, evaluation)
        trace = replace(trace, trial=trial)
    return Checked(case, seed, _alarms(report.findings), _alarms(judged(trace).findings))


def _alarms(findings: Sequence[Finding]) -> tuple[Alarm, ...]:
    return tuple(Alarm(f.code, f.consequence_of or f.code) for f in findings if f.severity != "info")
