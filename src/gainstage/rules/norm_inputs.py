"""What batch norms read: NRM007 dead-channel, NRM008 dropout-before-norm."""

from __future__ import annotations

from collections.abc import Iterator

from gainstage.rules.base import Finding, NotAssessed, Threshold, counted, rule
from gainstage.rules.normalization import SCALE, VALUES, batch_norms
from gainstage.rules.signal import MAPS
from gainstage.trace.records import LayerRecord, NormRecord, Trace

DEAD = Threshold(
    "dead", 0.5, "share of a norm's channels",
    "of 77 networks with batch norms at their authors' init one has 0.04, all others 0"
)  # fmt: skip


@rule(
    "NRM007", "dead-channel", severities=("warning",), cause="normalization",
    explains=("GRD001",), thresholds=(DEAD, VALUES),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 3))
        nn.init.normal_(model[1].weight, std=1e-7)
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(3, (64,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 3))
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(3, (64,))))
    """,
)  # fmt: skip
def dead_channel(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """Most channels that a batch norm reads do not vary: it passes on constants.

    What: in more than half of a batch norm's channels the batch's variance is at most a ten-thousandth of the norm's
        ε, which leaves an output of a hundredth of unit scale.
    Why it hurts: a channel that does not vary gives a constant, whatever the input.
    How measured: each channel's variance over the batch against ε, for norms in training mode that read other layers,
        with 16 values a channel or more. The variance is not held against ε itself: networks that train well have
        an ε of 0.001 and start with less than that in all channels of some norms.
    When it is a false alarm: single dead channels are common and are not reported; nor are norms of the model's input,
        whose features may be constant in a batch, and layers whose weights are zero on purpose.
    Fix: find what silences the layer before: weights that are far too small, dead units, a scale of zero.
    References: Ioffe and Szegedy 2015, section 3; Mehta et al. 2019 on dead filters.
    """
    dead = [(layer, norm) for layer, norm in batch_norms(trace) if _is_dead(trace, layer, norm)]
    if not dead:
        return
    layer, norm = dead[0]
    small, channels = norm.small_channels or 0, norm.channels or 1
    yield Finding(
        "NRM007", "dead-channel", "warning", "normalization", layer.module,
        message=f"{counted(len(dead), 'batch norm')} with most channels constant: at {layer.name or 'the root'} "
        f"the variance of {small} of {channels} is below a ten-thousandth of its ε of {norm.eps:g}.",
        why="Such a channel passes on a constant, whatever the input, instead of a signal of unit scale.",
        advice="Look at the layers before it: weights that are far too small, dead units, or a scale of zero.",
        value=small / channels, threshold=DEAD.value,
        evidence={"layers": len(dead), "channels": small, "eps": norm.eps},
        layers=tuple(record.name for record, _ in dead),
    )  # fmt: skip


def _is_dead(trace: Trace, layer: LayerRecord, norm: NormRecord) -> bool:
    if not norm.uses_batch_statistics or norm.small_channels is None or not norm.channels or not layer.inputs:
        return False
    sources = [trace.layers[position] for position in layer.inputs]
    if norm.values_per_statistic < VALUES.value or all(s.kind in MAPS and s.weight_rms == 0 for s in sources):
        return False
    return norm.small_channels > DEAD.value * norm.channels


@rule(
    "NRM008", "dropout-before-norm", severities=("warning", "info"), cause="normalization", explains=("NRM002",),
    thresholds=(SCALE,),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Dropout(0.5), nn.BatchNorm1d(64), nn.Linear(64, 3))
        subject = gs.Subject(model, (torch.randn(256, 16), torch.randint(3, (256,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 3))
        subject = gs.Subject(model, (torch.randn(256, 16), torch.randint(3, (256,))))
    """,
)  # fmt: skip
def dropout_before_norm(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """A batch norm reads what dropout has just thinned out, which inference will not.

    What: dropout directly before a batch norm, with no layer between.
    Why it hurts: dropout keeps the mean but raises the variance. The running variance is that of thinned-out values;
        in inference dropout is off, and the norm divides by a standard deviation that is too large.
    How measured: the variance of what the norm reads against that of the layer before the dropout: a warning from
        twice on, else for information.
    When it is a false alarm: with small rates the two differ little. Dropout further up, with a layer between,
        is common and is not reported.
    Fix: dropout behind the norm, or behind the last one.
    References: Li et al. 2019, Understanding the disharmony between dropout and batch normalization by variance shift.
    """
    found = [
        (layer, norm, _variance_ratio(trace, layer, norm)) for layer, norm in batch_norms(trace)
        if norm.uses_batch_statistics and norm.initial_statistics is not None and "dropout" in layer.via
    ]  # fmt: skip
    if not found:
        return
    layer, _, ratio = max(found, key=lambda entry: entry[2] or 0.0)
    grave = ratio is not None and ratio > SCALE.value
    by = "" if ratio is None else f", where the variance is ×{ratio:.2g} of what it is without"
    yield Finding(
        "NRM008", "dropout-before-norm", "warning" if grave else "info", "normalization", layer.module,
        message=f"{counted(len(found), 'batch norm')} directly behind dropout, {layer.name or 'the root'}{by}.",
        why="Inference has no dropout, but keeps the running variance of training: the norm divides by too much.",
        advice="Put dropout behind the norm, best behind the last one of the network.",
        value=ratio, threshold=SCALE.value, evidence={"layers": len(found)},
        layers=tuple(record.name for record, _, _ in found),
    )  # fmt: skip


def _variance_ratio(trace: Trace, layer: LayerRecord, norm: NormRecord) -> float | None:
    """Variance of what the norm reads over that of what the dropout reads; None with more than the dropout between."""
    if layer.via != ("dropout",) or len(layer.inputs) != 1 or norm.input_channel_std is None:
        return None
    before = trace.layers[layer.inputs[0]].channel_std
    return (norm.input_channel_std / before) ** 2 if before else None
