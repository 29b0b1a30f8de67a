"""What one pass makes look doubtful, and the runs without it that decide: for each a trial is made once more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from gainstage.diagnosis.remembering import remembering
from gainstage.errors import SubjectError
from gainstage.remedies import reinitialize
from gainstage.remedies.standardise import standardise_inputs
from gainstage.rules.base import Finding
from gainstage.rules.through_time import FADED
from gainstage.rules.tried import MENDED_BY
from gainstage.trace.copies import copied
from gainstage.trace.records import TensorRecord, Trace
from gainstage.trace.subject import Subject
from gainstage.trace.training_records import Change

# Each is well inside of what rules warn of without a trial: it costs a run, and the run decides.
DROPPED = 0.6  # share of values
DECAY, DECOUPLED = 0.01, 2.5e-3  # coefficient; learning rate times coefficient
OFFSET, WIDE, NARROW = 1.5, 3.0, 0.3  # standard deviations; of a feature; rms
SAME = 1e-6  # standard deviation of targets over their mean: rounding
MOVING = 0.02  # rms of a step over that of the weights, in the long run
FAR, NEAR = 5.0, 0.2  # rms of targets: over that of the outputs; in itself

# What findings that are for information call what they found, and the change that tells.
_MEANT_PERHAPS: Mapping[str, Change] = {"frozen": "frozen", "last layers": "parameters"}


def suspicions(trace: Trace, findings: Sequence[Finding] = ()) -> tuple[Change, ...]:
    """The changes that are worth a run, by the names of `VariantRecord.change`.

    Args:
        trace: Of one pass.
        findings: Of the rules on it: what mends a prediction shows whether it holds.
    """
    doubtful: Mapping[Change, bool] = {
        "dropout": any(entry.share >= DROPPED for entry in trace.dropouts),
        "weight_decay": _heavy_decay(trace),
        "inputs": any(_off(tensor) for tensor in trace.inputs),
        "targets": _far_targets(trace),
        "lr": _long_steps(trace),
        "memory": any(record.faintest < FADED.value for record in trace.through_time),
    }
    found: list[Change] = [change for change, worth_a_run in doubtful.items() if worth_a_run]
    # Of a trunk that is frozen, or that the optimizer does not hold, one pass cannot tell whether it is meant.
    kinds = {str(finding.evidence.get("kind")) for finding in findings}
    found.extend(change for kind, change in _MEANT_PERHAPS.items() if kind in kinds)
    grave = [finding.code for finding in findings if finding.severity != "info"]
    return tuple(dict.fromkeys([*found, *(MENDED_BY[code] for code in grave if code in MENDED_BY)]))


def changed(series: Subject, change: Change) -> tuple[Subject, float]:
    """A copy without what is doubtful, and what its losses have to be multiplied by to be compared.

    Raises:
        SubjectError: if it cannot be made.
    """
    return _CHANGES[change](series)


def _heavy_decay(trace: Trace) -> bool:
    optimizer = trace.optimizer
    if optimizer is None:
        return False
    if optimizer.decoupled:
        return max(optimizer.learning_rates, default=0.0) * max(optimizer.weight_decays, default=0.0) >= DECOUPLED
    return max(optimizer.weight_decays, default=0.0) >= DECAY


def _long_steps(trace: Trace) -> bool:
    step = trace.step
    return step is not None and (step.update_ratio or 0.0) * step.accumulation >= MOVING


def _off(tensor: TensorRecord) -> bool:
    if not tensor.std or tensor.rms is None:
        return False
    widest = max(tensor.std, tensor.feature_std_max or 0.0)
    return abs(tensor.mean or 0.0) > OFFSET * tensor.std or widest > WIDE or tensor.rms < NARROW


def _far_targets(trace: Trace) -> bool:
    loss = trace.loss_record
    if loss is None or not loss.ops or loss.ops != ("mse_loss",) or not len(trace.targets) == len(trace.outputs) == 1:
        return False
    target, output = trace.targets[0].rms, trace.outputs[0].rms
    return bool(target) and output is not None and (target > FAR * max(1.0, output) or target < NEAR)


BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


def _without_dropout(series: Subject) -> tuple[Subject, float]:
    subject = copied(series)
    for module in subject.model.modules():
        if isinstance(module, _DROPOUTS):
            module.p = 0.0
        elif isinstance(module, (nn.MultiheadAttention, nn.RNNBase)):
            module.dropout = 0.0
    return subject, 1.0


def _without_decay(series: Subject) -> tuple[Subject, float]:
    subject = copied(series)
    for group in subject.optimizer.param_groups if subject.optimizer is not None else []:
        if "weight_decay" in group:
            group["weight_decay"] = 0.0
    return subject, 1.0


def _standard_inputs(series: Subject) -> tuple[Subject, float]:
    # Else the loss may be one of the inputs, and be measured in their units.
    if not all(isinstance(batch, (tuple, list)) and len(batch) > 1 for batch in series.batches):
        raise SubjectError("trial: the batches must be inputs and targets for the inputs to be standardised alone.")
    return standardise_inputs(series), 1.0


def _standard_targets(series: Subject) -> tuple[Subject, float]:
    batches = list(series.batches)
    if not all(isinstance(batch, (tuple, list)) and isinstance(batch[-1], torch.Tensor) for batch in batches):
        raise SubjectError("trial: the targets must be the last part of a batch to be standardised.")
    found = torch.cat([batch[-1].detach().flatten() for batch in batches])
    mean, std = found.mean(), found.std()
    if not bool(std > SAME * mean.abs()):
        raise SubjectError("trial: the targets must differ to be standardised.")

    def standardised(batch: Any) -> Any:
        *inputs, targets = batch
        return type(batch)((*inputs, (targets - mean) / std))

    return copied(series).replace(batches=series.batches.map(standardised)), float(std) ** 2


def _new_weights(series: Subject) -> tuple[Subject, float]:
    return reinitialize(series), 1.0


def _all_parameters(series: Subject) -> tuple[Subject, float]:
    subject = copied(series)
    if subject.optimizer is None:
        raise SubjectError("trial: the subject must have an optimizer that can hold its parameters.")
    held = {id(parameter) for group in subject.optimizer.param_groups for parameter in group["params"]}
    missing = [p for p in subject.model.parameters() if p.requires_grad and id(p) not in held]
    if missing:
        subject.optimizer.add_param_group({"params": missing})
    return subject, 1.0


def _nothing_frozen(series: Subject) -> tuple[Subject, float]:
    subject = copied(series)
    subject.model.requires_grad_(True)
    return _all_parameters(subject)


def _norms_in_training(series: Subject) -> tuple[Subject, float]:
    subject = copied(series)
    for module in subject.model.modules():
        if isinstance(module, BATCH_NORMS):
            module.training = True
    return subject, 1.0


_CHANGES: Mapping[Change, Callable[[Subject], tuple[Subject, float]]] = {
    "dropout": _without_dropout,
    "weight_decay": _without_decay,
    "inputs": _standard_inputs,
    "targets": _standard_targets,
    "weights": _new_weights,
    "parameters": _all_parameters,
    "modes": _norms_in_training,
    "frozen": _nothing_frozen,
    "memory": lambda series: (remembering(series), 1.0),
}
