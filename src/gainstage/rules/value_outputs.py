"""What a network ends in against targets that its outputs are to be, as under squared errors; a part of ACT004."""

from __future__ import annotations

import math
from typing import NamedTuple

from gainstage.rules.base import Cause, Severity
from gainstage.trace.records import LayerRecord, TensorRecord, Trace

_SQUASHED = "The loss squashes its input itself: doing it twice shrinks the gradients and keeps the loss from falling."
_MISSED = "What the outputs cannot reach remains an error, whatever is learned."
_FADING = (
    "Where the softmax is sure and wrong, its gradient is next to nothing, and squared errors do not make up for it."
)


class Verdict(NamedTuple):
    """What a finding will say; ``fixable``: dropping the last operation mends it."""

    severity: Severity
    what: str
    advice: str
    fixable: bool = False
    cause: Cause = "loss"
    why: str = _SQUASHED


EIGHT_BITS = 255  # what a picture's values go up to
NORMED = 3.0  # standard deviations, by the rule of thumb: a norm's outputs have a mean of 0 and one of 1


def _normed_outputs(layer: LayerRecord, target: TensorRecord) -> Verdict | None:
    """Of predictions that a batch norm brings to mean 0 and standard deviation 1 before they meet their targets."""
    if not layer.rms or (target.rms or 0.0) <= NORMED * layer.rms:
        return None
    what = (
        f"The model ends in a batch norm, which gives every output a level of {layer.rms:.2g} over the batch, and the "
        f"targets have one of {target.rms:.3g}."
    )
    return Verdict(
        "warning",
        what,
        "Remove the norm behind the last layer; standardise the targets instead.",
        cause="normalization",
        why=_MISSED,
    )


def _one_hot(target: TensorRecord) -> bool:
    """Whether each row of the targets has a single one among zeros, as far as their moments tell."""
    if len(target.shape) < 2 or target.min != 0 or target.max != 1 or not target.mean or not target.rms:
        return False
    share = 1 / target.shape[1]
    return math.isclose(target.mean, share, rel_tol=1e-4) and math.isclose(target.rms**2, share, rel_tol=1e-4)


_BOUNDS = {"sigmoid": (0.0, 1.0), "hardsigmoid": (0.0, 1.0), "softmax": (0.0, 1.0), "tanh": (-1.0, 1.0),
           "relu": (0.0, float("inf")), "relu6": (0.0, 6.0)}  # fmt: skip


def _target_of(layer: LayerRecord, trace: Trace) -> TensorRecord | None:
    """The target that is as large as what the layer says, if that is one alone; else the first."""
    alike = [target for target in trace.targets if math.prod(target.shape) == math.prod(layer.shape)]
    return alike[0] if len(alike) == 1 else trace.targets[0] if trace.targets else None


def before_values(layer: LayerRecord, trace: Trace) -> Verdict | None:
    """Of a network whose outputs are to be the targets themselves, as for squared and absolute errors."""
    target = _target_of(layer, trace)
    if layer.norm is not None and layer.norm.type == "batch" and target is not None:
        return _normed_outputs(layer, target)
    if layer.op not in _BOUNDS or target is None:
        return None
    if layer.op == "softmax" and _one_hot(target):
        what = "The model ends in softmax, and squared errors compare its probabilities with one-hot targets."
        advice = (
            "Use CrossEntropyLoss on the logits, without the softmax: its gradient does not fade when they are wrong."
        )
        return Verdict("warning", what, advice, why=_FADING)
    low, high = _BOUNDS[layer.op]
    # A rounding error beyond the bound is no target beyond it.
    slack = 0.01 * max(1.0, abs(target.max or 0.0), abs(target.min or 0.0))
    if (target.min or 0.0) >= low - slack and (target.max or 0.0) <= high + slack:
        return None
    what = (
        f"The model ends in {layer.op}, whose outputs lie in [{low:g}, {high:g}], but targets range from "
        f"{target.min:.3g} to {target.max:.3g}."
    )
    if target.min == 0 and target.max == EIGHT_BITS and high == 1:
        return Verdict(
            "error", what, "Divide the targets by 255: they are as they stand in a picture.", cause="data", why=_MISSED
        )
    return Verdict(
        "error",
        what,
        f"Remove the {layer.op}, or scale the targets into its range.",
        fixable=True,
        cause="activation",
        why=_MISSED,
    )
