"""Data: DAT001 input-scale, DAT004 degenerate-input."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from gainstage.remedies.fix import Fix
from gainstage.rules.base import Finding, NotAssessed, Severity, Threshold, counted, rule
from gainstage.rules.signal import MAPS
from gainstage.rules.tried import BEHIND, RELIEVED, far_behind, ignorant_loss, relief, told
from gainstage.trace.graph import consumers
from gainstage.trace.records import LayerRecord, TensorRecord, Trace

_CALIBRATED = "benchmarks/calibrate.py, development split (docs/thresholds.md)"
SMALL = Threshold("small", 0.03, "standard deviation", _CALIBRATED)
LARGE = Threshold("large", 30.0, "standard deviation", _CALIBRATED)
NEAR_UNIT = Threshold(
    "near_unit",
    10.0,
    "times unit scale, either way, where a model scales its inputs itself",
    "well inside of the others",
)
OFFSET = Threshold("offset", 5.0, "|mean| over standard deviation", _CALIBRATED)
NEGLIGIBLE = 10.0  # times ε: from this variance on a norm takes the scale of what it reads away
EVEN = 3.0  # the widest feature over all of them
UNIT = 1.0  # an offset hurts only where it is itself large against the weights' unit scale


@rule(
    "DAT001", "input-scale", severities=("warning",), cause="data",
    explains=(
        "INI003", "INI004", "INI005", "INI006", "INI009", "ACT001", "ACT002", "GRD001", "GRD002", "GRD003", "GRD004",
        "NRM002", "NRM007", "OPT001", "OPT002", "OPT003", "OPT004", "OPT005", "DAT007",
    ),
    thresholds=(SMALL, LARGE, OFFSET, NEAR_UNIT, RELIEVED, BEHIND),
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

    What: a standard deviation below 0.03 or above 30, a mean of more than 5 standard deviations, or whole numbers of an
        rms above 30 that no embedding looks up; or a tenth to a third of that, and a trial ends above 0.35 of the loss
        of a network that knows nothing, and below 0.4 of that end with standardised inputs.
    Why it hurts: initial weights and usual learning rates are made for inputs of unit scale; a large common mean
        drowns what tells samples apart.
    How measured: over all features, and over the widest feature where they differ, of the first batch.
    When it is a false alarm: a norm that reads the inputs first, or what the first layer makes of them, repairs their
        scale and is taken into account; so is a model that subtracts, divides or takes logarithms itself, where unit
        scale comes of it.
    Fix: subtract the mean and divide by the standard deviation, of each feature, over the training set.
    References: LeCun et al. 1998, Efficient BackProp, section 4.3.
    """
    floating = [tensor for tensor in trace.inputs if tensor.std is not None]
    if not floating:
        numbers = _whole_numbers(trace)
        yield NotAssessed("DAT001", "the batch has no floating-point inputs") if numbers is None else numbers
        return
    if _rescaled(trace):
        return
    if trace.layers and trace.layers[0].kind == "norm" and not trace.layers[0].inputs:
        return
    # Of several inputs the one that a norm reads first is known by its size.
    normed = {layer.shape for layer in trace.layers if layer.kind == "norm" and not layer.inputs}
    floating = [tensor for tensor in floating if tensor.shape not in normed]
    repaired = _normed_at_once(trace)
    ends = relief(trace, "inputs")
    for tensor in floating:
        finding = _judged(tensor)
        if finding is not None and not (repaired and _even_scale(tensor, finding)):
            yield (
                finding if ends is None else replace(finding, message=f"{finding.message} {told(trace, ends, _TRIED)}")
            )
            return
    # The scale that a norm takes away costs nothing, and a run without it is another run.
    doubtful = floating and (not repaired or any(_uneven(tensor) for tensor in floating))
    # What one pass does not show has to have cost something: many a network learns faster from standardised inputs. A
    # loss of which that is not known may be an equation's, whose terms have the inputs' units.
    if ends is not None and doubtful and ignorant_loss(trace) is not None and far_behind(trace, ends):
        yield _relieved(trace, floating, ends)


# What brings inputs to scale inside of the model.
_SCALING = frozenset(("sub", "rsub", "div", "mul", "log", "log1p", "log2", "log10", "sqrt", "asinh"))


def _rescaled(trace: Trace) -> bool:
    """Whether all that reads the input reads what the model has brought to unit scale itself."""
    first = [layer for layer in trace.layers if not layer.inputs and layer.input_rms is not None]
    return bool(first) and all(
        _SCALING.intersection(layer.via) and 1 / NEAR_UNIT.value < (layer.input_rms or 0.0) < NEAR_UNIT.value
        for layer in first
    )


def _whole_numbers(trace: Trace) -> Finding | None:
    """Whole numbers that a layer takes for quantities, as they are."""
    first = next((layer for layer in trace.layers if not layer.inputs and (layer.input_rms or 0.0) > LARGE.value), None)
    if first is None or not trace.inputs or first.input_rms is None:
        return None
    return Finding(
        "DAT001", "input-scale", "warning", "data", first.module,
        message=f"Whole numbers of an rms of {first.input_rms:.3g} enter {first.name} as they are: no unit scale.",
        why="Weights and learning rates are made for inputs of unit scale; and numbers that stand for words or kinds "
        "have no order that a layer could use.",
        advice="Look up numbers that stand for something (nn.Embedding, one-hot); standardise counts and levels.",
        value=first.input_rms, threshold=LARGE.value, evidence={"kind": "whole numbers"}, layers=(first.name,),
    )  # fmt: skip


def _uneven(tensor: TensorRecord) -> bool:
    """Whether a single factor would not mend it."""
    std = tensor.std or 0.0
    return abs(tensor.mean or 0.0) > std or (tensor.feature_std_max or 0.0) > EVEN * std


_TRIED = "with standardised inputs"


def _relieved(trace: Trace, floating: Sequence[TensorRecord], ends: tuple[float, float]) -> Finding:
    """What a trial with standardised inputs shows where the figures alone do not."""
    tensor = max(floating, key=lambda one: max(abs(one.mean or 0.0) / (one.std or 1.0), one.feature_std_max or 0.0))
    return replace(
        _scale(tensor, "tried", ends[1] / ends[0], RELIEVED),
        message=f"{_measured(tensor)}. {told(trace, ends, _TRIED)}",
    )


def _normed_at_once(trace: Trace) -> bool:
    """Whether all that reads the input is a map with a norm right behind it: norm(W x) is that of any multiple of x."""
    read_by = consumers(trace.layers)
    first = [position for position, layer in enumerate(trace.layers) if not layer.inputs]
    return bool(first) and all(
        trace.layers[position].kind in MAPS and read_by[position]
        and all(_takes_scale_away(trace.layers[position], trace.layers[reader]) for reader in read_by[position])
        for position in first
    )  # fmt: skip


def _takes_scale_away(layer: LayerRecord, reader: LayerRecord) -> bool:
    norm = reader.norm
    if norm is None or (norm.type in ("batch", "instance") and not norm.uses_batch_statistics):
        return False
    return (layer.channel_std or layer.rms or 0.0) ** 2 > NEGLIGIBLE * norm.eps


def _even_scale(tensor: TensorRecord, finding: Finding) -> bool:
    """Whether a single factor would mend it: not an offset, and no feature apart from the others."""
    return finding.evidence["kind"] != "offset" and finding.evidence["widest_std"] <= EVEN * (tensor.std or 0.0)


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
    return _scale(tensor, what, value, limit)


def _measured(tensor: TensorRecord) -> str:
    std, widest = tensor.std or 0.0, tensor.feature_std_max or 0.0
    return (
        f"{tensor.name} has mean {tensor.mean or 0.0:.3g} and standard deviation {std:.3g}"
        + (f", up to {widest:.3g} in its widest feature" if widest > 2 * std else "")
        + f", range {tensor.min:.3g} to {tensor.max:.3g}"
    )


def _scale(tensor: TensorRecord, kind: str, value: float, limit: Threshold) -> Finding:
    mean, std = tensor.mean or 0.0, tensor.std or 0.0
    return Finding(
        "DAT001", "input-scale", "warning", "data", "",
        message=f"{_measured(tensor)}: far from zero mean and unit scale.",
        why="Weights and learning rates are made for inputs of unit scale; others are blown up, drowned or shifted.",
        advice="Standardise: subtract the training set's mean and divide by its standard deviation, per feature.",
        value=value, threshold=limit.value,
        evidence={"kind": kind, "mean": mean, "std": std, "widest_std": max(std, tensor.feature_std_max or 0.0)},
        fix=Fix("DAT001", "", "Standardise the inputs by the mean and standard deviation of the data.",
                "standardise_inputs", {"per_feature": True}),
    )  # fmt: skip


VALUES = Threshold("values", 8, "values of a sample", "samples of fewer may agree by chance, or stand for a constant")
ROWS = Threshold("rows", 256, "samples in which a column has one value", "a rare value may be missing in fewer")
COLUMNS = Threshold("columns", 0.1, "share of constant columns", "more of them: flattened pictures, counted words")
PICTURES = 8  # of which a channel is looked at; each has many values


@rule(
    "DAT004", "degenerate-input", severities=("warning", "info"), cause="data",
    explains=("INI009", "ACT001", "GRD002", "NRM007", "OPT001", "OPT003", "OPT004", "DAT007"),
    thresholds=(VALUES, ROWS, COLUMNS),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 3))
        sample = torch.randn(16)
        subject = gs.Subject(model, (torch.stack([sample] * 64), torch.randint(3, (64,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
        pictures = torch.randn(64, 64)
        pictures[:, :20] = 0  # the border
        subject = gs.Subject(model, (pictures, torch.randint(3, (64,))))
    """,
)  # fmt: skip
def degenerate_input(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """The samples of a batch do not differ, or a feature never does.

    What: warning: all samples of the batch, of 8 values or more each, are equal. Info: a channel of pictures, or a
        few columns of a table, have one value throughout.
    Why it hurts: what is the same for all samples cannot tell them apart.
    How measured: all input tensors of the batch, compared to the last bit; features of the first batch.
    When it is a false alarm: a batch made for a trial (torch.zeros, one sample repeated), which measures little.
        Single pixels of flattened pictures and words that are rare are constant as a rule, and not reported.
    Fix: look at how samples are read and put together; leave constant columns out.
    References: none; it follows from the definition.
    """
    inputs = [t for t in trace.inputs if t.same_samples is not None]
    if not inputs:
        yield NotAssessed("DAT004", "needs a batch of two samples or more")
        return
    size = inputs[0].shape[0]
    others = (*trace.outputs, *trace.targets)
    # Without a sign that dimension 0 counts samples it may count the channels of a single grey picture.
    if not any(t.shape[:1] == (size,) for t in others):
        yield NotAssessed("DAT004", "it is not known which dimension of the inputs counts samples")
        return
    if all(t.same_samples for t in inputs) and any(_telling(t) for t in inputs):
        yield _degenerate(
            "warning", f"All {size} samples of the batch are equal.",
            "The network sees one input: it can learn one answer, and norms and levels measured on it mean little.",
            "Look at how samples are read and put together into batches, or pass a real batch.", float(size), 1.0,
        )  # fmt: skip
        return
    for tensor in inputs:
        finding = _constant(tensor)
        if finding is not None:
            yield finding
            return


def _telling(tensor: TensorRecord) -> bool:
    return math.prod(tensor.shape[1:]) >= VALUES.value


def _constant(tensor: TensorRecord) -> Finding | None:
    count, of = tensor.constant_features or 0, tensor.features or 0
    pictures = len(tensor.shape) == 4 and tensor.shape[0] >= PICTURES
    table = len(tensor.shape) == 2 and tensor.shape[0] >= ROWS.value and count <= COLUMNS.value * of
    if not 0 < count < of or not (pictures or table):
        return None
    what = "channel" if pictures else "column"
    return _degenerate(
        "info", f"{counted(count, what)} of {of} of {tensor.name} {'has' if count == 1 else 'have'} one value in all "
        f"{tensor.shape[0]} samples.",
        "What is the same for all samples cannot tell them apart; a division by its standard deviation fails.",
        f"Leave out a {what} that is constant over the whole training set.", float(count), 0.0,
    )  # fmt: skip


def _degenerate(severity: Severity, message: str, why: str, advice: str, value: float, threshold: float) -> Finding:
    return Finding(
        "DAT004", "degenerate-input", severity, "data", "", message=message, why=why, advice=advice, value=value,
        threshold=threshold,
    )  # fmt: skip
