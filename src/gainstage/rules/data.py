"""Data: DAT001 input-scale."""

from __future__ import annotations

from collections.abc import Iterator

from gainstage.remedies.fix import Fix
from gainstage.rules.base import Finding, NotAssessed, Threshold, rule
from gainstage.trace.records import TensorRecord, Trace

_CALIBRATED = "benchmarks/calibrate.py, development split (docs/thresholds.md)"
SMALL = Threshold("small", 0.03, "standard deviation", _CALIBRATED)
LARGE = Threshold("large", 30.0, "standard deviation", _CALIBRATED)
OFFSET = Threshold("offset", 5.0, "|mean| over standard deviation", _CALIBRATED)
UNIT = 1.0  # an offset hurts only where it is itself large against the weights' unit scale


@rule(
    "DAT001", "input-scale", severities=("warning",), cause="data",
    explains=(
        "INI003", "INI004", "INI006", "ACT001", "ACT002", "GRD001", "GRD002",
        "OPT001", "OPT002", "OPT003", "OPT004", "OPT005",
    ),
    thresholds=(SMALL, LARGE, OFFSET),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 3))
        subject = gs.Subject(model, (torch.rand(64, 16) * 255, torch.randint(3, (64,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 3))
        subject = gs.Subject(model, (torch.rand(64, 16), torch.randint(3, (64,))))  # [0, 1] is near enough
    """,
)  # fmt: skip
def input_scale(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """The inputs are far from zero mean and unit scale.

    What: a standard deviation below 0.03 or above 30, or a mean of more than 5 standard deviations.
    Why it hurts: initial weights and usual learning rates are made for inputs of unit scale; a large common mean
        drowns what tells samples apart.
    How measured: over all features, and over the widest feature where they differ, of the first batch.
    When it is a false alarm: a norm that reads the inputs first repairs their scale and is taken into account.
    Fix: subtract the mean and divide by the standard deviation, of each feature, over the training set.
    References: LeCun et al. 1998, Efficient BackProp, section 4.3.
    """
    floating = [tensor for tensor in trace.inputs if tensor.std is not None]
    if not floating:
        yield NotAssessed("DAT001", "the batch has no floating-point inputs")
        return
    if trace.layers and trace.layers[0].kind == "norm" and not trace.layers[0].inputs:
        return
    for tensor in floating:
        finding = _judged(tensor)
        if finding is not None:
            yield finding
            return


def _judged(tensor: TensorRecord) -> Finding | None:
    mean, std = tensor.mean or 0.0, tensor.std or 0.0
    widest = max(std, tensor.feature_std_max or 0.0)
    if tensor.rms == 0 or (std == 0 and abs(mean) <= UNIT):
        return None  # an empty or constant input is not a matter of scale
    if widest > LARGE.value:
        what, value, limit = "large", widest, LARGE
    elif (tensor.rms or 0.0) < SMALL.value:
        what, value, limit = "small", std, SMALL
    elif abs(mean) > OFFSET.value * std and abs(mean) > UNIT:
        what, value, limit = "offset", abs(mean) / std if std else float("inf"), OFFSET
    else:
        return None
    return Finding(
        "DAT001", "input-scale", "warning", "data", "",
        message=f"{tensor.name} has mean {mean:.3g} and standard deviation {std:.3g}"
        + (f", up to {widest:.3g} in its widest feature" if widest > 2 * std else "")
        + f", range {tensor.min:.3g} to {tensor.max:.3g}: far from zero mean and unit scale.",
        why="Weights and learning rates are made for inputs of unit scale; others are blown up, drowned or shifted.",
        advice="Standardise: subtract the training set's mean and divide by its standard deviation, per feature.",
        value=value, threshold=limit.value, evidence={"kind": what, "mean": mean, "std": std, "widest_std": widest},
        fix=Fix("DAT001", "", "Standardise the inputs by the mean and standard deviation of the data.",
                "standardise_inputs", {"per_feature": True}),
    )  # fmt: skip
