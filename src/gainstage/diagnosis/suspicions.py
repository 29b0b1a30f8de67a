"""What one pass makes look doubtful, and the runs without it that decide: for each a trial is made once more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from gainstage.errors import SubjectError
from gainstage.remedies.standardise import standardise_inputs
from gainstage.trace.copies import copied
from gainstage.trace.records import TensorRecord, Trace
from gainstage.trace.subject import Subject
from gainstage.trace.training_records import Change

# Each is well inside of what rules warn of without a trial: it costs a run, and the run decides.
DROPPED = 0.6  # share of values
DECAY, DECOUPLED = 0.01, 2.5e-3  # coefficient; learning rate times coefficient
OFFSET, WIDE, NARROW = 1.5, 3.0, 0.3  # standard deviations; of a feature; rms
FAR, NEAR = 5.0, 0.2  # rms of targets: over that of the outputs; in itself


def suspicions(trace: Trace) -> tuple[Change, ...]:
    """The changes that are worth a run, by the names of `VariantRecord.change`."""
    doubtful: Mapping[Change, bool] = {
        "dropout": any(entry.share >= DROPPED for entry in trace.dropouts),
        "weight_decay": _heavy_decay(trace),
        "inputs": any(_off(tensor) for tensor in trace.inputs),
        "targets": _far_targets(trace),
    }
    return tuple(change for change, worth_a_run in doubtful.items() if worth_a_run)


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


def _off(tensor: TensorRecord) -> bool:
    if not tensor.std or tensor.rms is None:
        return False
    widest = max(tensor.std, tensor.feature_std_max or 0.0)
    return abs(tensor.mean or 0.0) > OFFSET * tensor.std or widest > WIDE or tensor.rms < NARROW


def _far_targets(trace: Trace) -> bool:
    loss = trace.loss_record
    if loss is None or not loss.ops or loss.ops[0] != "mse_loss" or not len(trace.targets) == len(trace.outputs) == 1:
        return False
    target, output = trace.targets[0].rms, trace.outputs[0].rms
    return bool(target) and output is not None and (target > FAR * max(1.0, output) or target < NEAR)


_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


def _without_dropout(series: Subject) -> tuple[Subject, float]:
    subject = copied(series)
    for module in subject.model.modules():
        if isinstance(module, _DROPOUTS):
            module.p = 0.0
    return subject, 1.0


def _without_decay(series: Subject) -> tuple[Subject, float]:
    subject = copied(series)
    for group in subject.optimizer.param_groups if subject.optimizer is not None else []:
        if "weight_decay" in group:
            group["weight_decay"] = 0.0
    return subject, 1.0


def _standard_inputs(series: Subject) -> tuple[Subject, float]:
    return standardise_inputs(series), 1.0


def _standard_targets(series: Subject) -> tuple[Subject, float]:
    batches = list(series.batches)
    if not all(isinstance(batch, (tuple, list)) and isinstance(batch[-1], torch.Tensor) for batch in batches):
        raise SubjectError("trial: the targets must be the last part of a batch to be standardised.")
    found = torch.cat([batch[-1].detach().flatten() for batch in batches])
    mean, std = found.mean(), found.std().clamp_min(torch.finfo(found.dtype).tiny)

    def standardised(batch: Any) -> Any:
        *inputs, targets = batch
        return type(batch)((*inputs, (targets - mean) / std))

    return copied(series).replace(batches=series.batches.map(standardised)), float(std) ** 2


_CHANGES: Mapping[Change, Callable[[Subject], tuple[Subject, float]]] = {
    "dropout": _without_dropout,
    "weight_decay": _without_decay,
    "inputs": _standard_inputs,
    "targets": _standard_targets,
}
