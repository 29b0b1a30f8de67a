"""Predictions and targets that torch broadcasts instead of pairing them: what DAT002 says of their shapes."""

from __future__ import annotations

import math
from dataclasses import replace

from gainstage.rules.base import Finding
from gainstage.trace.records import TensorRecord, Trace
from gainstage.trace.target_records import CrossingRecord

_LOSSES = ("mse_loss", "smooth_l1_loss", "huber_loss")


def unpaired(trace: Trace, crossing: CrossingRecord | None) -> Finding | None:
    """Silent broadcasting, if the batch and the model themselves have those shapes: others are of someone's making."""
    if crossing is None:
        return None
    outputs, targets = [t.shape for t in trace.outputs], [t.shape for t in trace.targets]
    if crossing.op == "mul" and not len(outputs) == len(targets) == 1:
        return None  # of several outputs one may weigh the others
    if crossing.op in _LOSSES and _square(crossing) and crossing.prediction in outputs:
        return _squared(crossing)
    if not crossing.mutual:
        return _one_to_several(trace, crossing)
    pairs = [
        (output, target)
        for output in outputs
        for target in targets
        if len(output) != len(target)
        and _squeezed(output) == _squeezed(target) == _squeezed(crossing.prediction) == _squeezed(crossing.target)
    ]
    if not pairs:
        return None
    output, target = pairs[0]
    return _finding(
        f"Outputs of shape {output} meet targets of shape {target} in {crossing.op}: torch broadcasts them to "
        f"{crossing.result}, each prediction against the targets of all samples.",
        "The best that such a loss can be brought to is one and the same prediction, the mean, for every sample.",
        "Give both one shape: targets.reshape(outputs.shape), or outputs.squeeze(-1).",
        "broadcast", float(math.prod(crossing.result)), float(math.prod(output)),
    )  # fmt: skip


def _square(crossing: CrossingRecord) -> bool:
    return crossing.prediction == crossing.result and len(set(crossing.prediction)) == 1 < len(crossing.prediction)


def _squared(crossing: CrossingRecord) -> Finding:
    """As many rows and columns of outputs as there are samples: the model itself has crossed them."""
    size = crossing.prediction[0]
    return replace(
        _finding(
            f"The model's outputs are {size} x {size} for {size} samples, and {crossing.op} sets each row against all "
            "targets: a column and a row were broadcast inside of the model.",
            "Each sample's answer is mixed with those of all others, and the best that comes of it is the mean.",
            "Give what is added or multiplied there one shape: squeeze(-1) of the column, or unsqueeze(-1) of the row.",
            "squared", float(size**2), float(size),
        ),
        cause="wiring",
    )  # fmt: skip


def _one_to_several(trace: Trace, crossing: CrossingRecord) -> Finding | None:
    """One output for each sample, where its targets ask for several: bounds or other answers may be meant by hand."""
    outputs, targets = [t.shape for t in trace.outputs], {t.shape: t for t in trace.targets}
    target = targets.get(crossing.target)
    if crossing.prediction not in outputs or target is None or crossing.prediction[0] != crossing.target[0]:
        return None
    if crossing.op not in _LOSSES and not _one_hot(target):
        return None
    several = math.prod(crossing.target) // math.prod(crossing.prediction)
    return _finding(
        f"Outputs of shape {crossing.prediction} meet targets of shape {crossing.target} in {crossing.op}: "
        f"torch broadcasts each output against {several} targets.",
        "The best that such a loss can be brought to is their mean, which of one-hot classes is the same for all.",
        f"Give the model as many outputs as the targets have, here {several} for each of its own; or targets of one "
        "column.",
        "one_to_several", float(math.prod(crossing.result)), float(math.prod(crossing.prediction)),
    )  # fmt: skip


def _one_hot(target: TensorRecord) -> bool:
    """Whether one value in each row is 1 and the others are 0."""
    ones, last = target.mean or 0.0, target.shape[-1]
    binary = target.min == 0 and target.max == 1 and math.isclose(ones, (target.rms or 0.0) ** 2, rel_tol=1e-4)
    return binary and math.isclose(ones * last, 1, rel_tol=1e-4)


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def _finding(message: str, why: str, advice: str, kind: str, value: float, threshold: float) -> Finding:
    return Finding(
        "DAT002", "bad-targets", "error", "data", "", message=message, why=why, advice=advice, value=value,
        threshold=threshold, evidence={"kind": kind},
    )  # fmt: skip
