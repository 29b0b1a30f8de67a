"""Normalization: NRM001 norm-frozen-in-training, NRM003 tiny-batch-norm, NRM004 bias-before-norm,
NRM013 degenerate-group.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from gainstage.remedies.fix import Fix
from gainstage.rules.base import Finding, NotAssessed, Threshold, counted, rule
from gainstage.rules.signal import MAPS, consumers
from gainstage.trace.records import LayerRecord, NormRecord, Trace

SHIFT = Threshold(
    "shift", 0.5, "batch standard deviations",
    "running statistics that were warmed on such data differ by 1/√(values per channel), under 0.1 from 100 values on",
)  # fmt: skip
SCALE = Threshold(
    "scale", 2.0, "ratio of variances, either way", "as for shift: √(2/values), under 0.15 from 100 values on"
)
VALUES = Threshold(
    "values", 16, "values per channel",
    "a variance estimated from n values scatters by √(2/(n-1)): 37 % at 16; Wu and He 2018 see the error rise below",
)  # fmt: skip
FEW = Threshold(
    "few", 8, "values per channel",
    "benchmarks/norm_batches.py (docs/thresholds.md): 0 to 3 points of accuracy lost at 8, 2 to 10 at 4, all at 2",
)  # fmt: skip
ALONE = Threshold(
    "alone",
    1.2,
    "× the loss in training mode",
    "one faulty program came to 1.35, its twin to 1.05: no more was at hand",
)


def batch_norms(trace: Trace) -> list[tuple[LayerRecord, NormRecord]]:
    """The batch norms with their facts, in order of execution."""
    return [(layer, layer.norm) for layer in trace.layers if layer.norm is not None and layer.norm.type == "batch"]


def off_statistics(norm: NormRecord) -> bool:
    """Whether the running statistics are far from this batch's."""
    if norm.batch_shift is None or norm.batch_scale_ratio is None or norm.values_per_statistic < VALUES.value:
        return False
    return norm.batch_shift > SHIFT.value or abs(math.log(max(norm.batch_scale_ratio, 1e-300))) > math.log(SCALE.value)


@rule(
    "NRM001", "norm-frozen-in-training", severities=("error",), cause="normalization",
    explains=("INI002", "INI003", "INI004", "INI006", "GRD001", "GRD002", "ACT001", "ACT002", "OPT002", "OPT003"),
    thresholds=(SHIFT, SCALE),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 3))
        model.eval()  # from a validation round, never undone
        subject = gs.Subject(model, (torch.randn(64, 16) * 3, torch.randint(3, (64,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 3))
        subject = gs.Subject(model, (torch.randn(64, 16) * 3, torch.randint(3, (64,))))
    """,
)  # fmt: skip
def norm_frozen_in_training(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """Batch norms apply running statistics that do not describe the data while the model is trained.

    What: batch norms in eval mode whose running mean and variance are far from those of the batch.
    Why it hurts: the layer does not normalize what it gets: the network trains as if it had no norms, on statistics
        that nothing updates.
    How measured: the distance of the batch's channel means in batch standard deviations, and the ratio of the
        variances, of the batch norms that use their running statistics in a pass that computes gradients.
    When it is a false alarm: frozen norms of a pretrained network whose statistics fit the data are not reported.
    Fix: model.train() before training.
    References: Ioffe and Szegedy 2015, section 3.1.
    """
    norms = batch_norms(trace)
    if not trace.backward and norms:
        yield NotAssessed("NRM001", "needs a backward pass: without one the model is not being trained")
        return
    frozen = [(layer, norm) for layer, norm in norms if not norm.uses_batch_statistics]
    off = [(layer, norm) for layer, norm in frozen if off_statistics(norm)]
    if not off:
        return
    fresh = sum(norm.updates == 0 for _, norm in off)
    layer, norm = off[0]
    mode = (
        "The whole model is in eval mode"
        if not trace.training
        else f"{counted(len(frozen), 'batch norm')} in eval mode"
    )
    yield Finding(
        "NRM001", "norm-frozen-in-training", "error", "normalization", layer.module,
        message=f"{mode} while gradients are computed: {len(off)} of {counted(len(norms), 'batch norm')} apply running "
        f"statistics that are off this batch's (at {layer.name or 'the root'} by {norm.batch_shift:.2g} standard "
        f"deviations in mean and ×{norm.batch_scale_ratio:.2g} in variance)"
        + (f"; {fresh} were never updated." if fresh else "."),
        why="They do not normalize what they get, and nothing updates them: it is training without norms.",
        advice="Call model.train() before training; after validation too.",
        value=norm.batch_shift, threshold=SHIFT.value,
        evidence={"batch_scale_ratio": norm.batch_scale_ratio, "frozen": len(frozen), "never_updated": fresh},
        fix=Fix("NRM001", layer.module, "Put the frozen batch norms back into training mode (model.train()).",
                "to_train_mode",
                {"modules": ("",) if not trace.training else tuple(record.module for record, _ in frozen)}),
        layers=tuple(record.name for record, _ in off),
    )  # fmt: skip


@rule(
    "NRM003", "tiny-batch-norm", severities=("warning", "info"), cause="batch-size", explains=("NRM002",),
    thresholds=(FEW, VALUES, ALONE),
    claims=("small-batch", "forgotten-eval"),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 3))
        subject = gs.Subject(model, (torch.randn(4, 16), torch.randint(3, (4,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        # Four images, but 4·14·14 values per channel.
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(1568, 3))
        subject = gs.Subject(model, (torch.randn(4, 3, 16, 16), torch.randint(3, (4,))))
    """,
)  # fmt: skip
def tiny_batch_norm(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """Batch norms take their statistics over too few values.

    What: fewer than 8 values per channel: the batch's samples times the positions; for information, fewer than 16. Or
        batches of one sample, however large, where a trial's loss is higher with batch norms in eval mode.
    Why it hurts: means and variances of a few values are mostly chance: training is noisy, and the running
        averages that inference uses are of something else.
    How measured: N·H·W of what each batch norm in training mode reads.
    When it is a false alarm: the batch given here is smaller than the one you train with.
    Fix: a larger batch, or group norm or layer norm, which do not depend on it.
    References: Wu and He 2018; Ioffe 2017.
    """
    tiny = [
        (layer, norm) for layer, norm in batch_norms(trace)
        if norm.uses_batch_statistics and norm.values_per_statistic < VALUES.value
    ]  # fmt: skip
    if not tiny:
        yield from _alone(trace)
        return
    layer, norm = min(tiny, key=lambda pair: pair[1].values_per_statistic)
    count = norm.values_per_statistic
    error = math.sqrt(2 / max(1, count - 1))
    limit = FEW if count < FEW.value else VALUES
    tiny = [(layer, norm) for layer, norm in tiny if norm.values_per_statistic < limit.value]
    yield Finding(
        "NRM003", "tiny-batch-norm", "warning" if limit is FEW else "info", "batch-size", layer.module,
        message=f"{counted(len(tiny), 'batch norm')} with mean and variance over fewer than {limit.value:.0f} values; "
        f"{layer.name or 'the root'} over {count}, which leaves an error of {error:.0%} in its variance.",
        why="Statistics of a few values are mostly chance: training is noisy and inference sees different averages.",
        advice="Use a larger batch (if this one is as large as in training), or GroupNorm or LayerNorm.",
        value=float(count), threshold=limit.value, evidence={"layers": len(tiny), "variance_error": error},
        layers=tuple(record.name for record, _ in tiny),
    )  # fmt: skip


def _alone(trace: Trace) -> Iterator[Finding]:
    """Batches of one sample: each is normalized by itself in training, and by an average over all in eval mode."""
    alone = [layer for layer, norm in batch_norms(trace) if norm.uses_batch_statistics and layer.batch_size == 1]
    ends = trace.trial.evaluation if trace.trial is not None else None
    # A single batch may have been made for the check; of ten and more some are held out.
    if not alone or ends is None or not ends.unseen or not (ends.norms_in_eval or 0.0) > ALONE.value * ends.in_train:
        return
    yield Finding(
        "NRM003", "tiny-batch-norm", "warning", "batch-size", alone[0].module,
        message=f"{counted(len(alone), 'batch norm')} with batches of one sample: after a trial the loss is "
        f"{ends.in_train:.3g} in training mode and {ends.norms_in_eval:.3g} with batch norms in eval mode.",
        why="Each sample is normalized by itself in training, and by an average over all of them at inference.",
        advice="Use larger batches, or GroupNorm or InstanceNorm, which do the same in both modes.",
        value=(ends.norms_in_eval or 0.0) / ends.in_train, threshold=ALONE.value,
        evidence={"layers": len(alone), "samples": 1}, layers=tuple(layer.name for layer in alone),
    )  # fmt: skip


@rule(
    "NRM004", "bias-before-norm", severities=("info",), cause="normalization",
    bad="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 3))
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(3, (64,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 3))
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(3, (64,))))
    """,
)  # fmt: skip
def bias_before_norm(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """A bias stands before a norm that removes it.

    What: a linear or convolutional layer with a bias whose output goes to a batch or instance norm and nowhere else.
    Why it hurts: the norm subtracts the channel's mean and the bias with it: a parameter that does nothing.
    How measured: the layer has a bias, and the norm is its only reader, with nothing between that changes values.
    When it is a false alarm: layer and group norm remove a part of it only and are not reported.
    Fix: bias=False.
    References: Ioffe and Szegedy 2015, section 3.2.
    """
    read_by = consumers(trace.layers)
    idle = [
        layer for position, layer in enumerate(trace.layers)
        if layer.kind in MAPS and layer.bias_rms is not None and len(read_by[position]) == 1
        and _removes_mean(trace.layers[read_by[position][0]])
    ]  # fmt: skip
    if idle:
        yield Finding(
            "NRM004", "bias-before-norm", "info", "normalization", idle[0].module,
            message=f"{counted(len(idle), 'layer')} with a bias that the norm behind removes, "
            f"first {idle[0].name or 'the root'}.",
            why="The norm subtracts each channel's mean, and the bias with it: the parameter does nothing.",
            advice="Build these layers with bias=False.",
            evidence={"layers": len(idle)},
            fix=Fix("NRM004", idle[0].module, "Remove the biases that a norm takes away.", "drop_bias",
                    {"modules": tuple(layer.module for layer in idle)}),
            layers=tuple(layer.name for layer in idle),
        )  # fmt: skip


def _removes_mean(layer: LayerRecord) -> bool:
    norm = layer.norm
    return norm is not None and not layer.via and norm.type in ("batch", "instance") and norm.uses_batch_statistics


@rule(
    "NRM013", "degenerate-group", severities=("error",), cause="normalization",
    explains=("INI002", "INI003", "INI006", "ACT001", "GRD001", "GRD003", "OPT002", "OPT003", "DAT007"),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        # After pooling each group holds one channel of one position.
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.GroupNorm(8, 8), nn.Flatten(),
                              nn.Linear(8, 3))
        subject = gs.Subject(model, (torch.randn(32, 3, 8, 8), torch.randint(3, (32,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(8, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                              nn.Linear(8, 3))
        subject = gs.Subject(model, (torch.randn(32, 3, 8, 8), torch.randint(3, (32,))))
    """,
)  # fmt: skip
def degenerate_group(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """A norm takes its statistics over one element: its output is a constant.

    What: a group norm whose groups are one channel of one position, an instance norm on one position, a layer norm of
        size 1.
    Why it hurts: a value less the mean of itself alone is zero. Whatever goes in, the layer's shift comes out, and no
        gradient passes back.
    How measured: how many values stand behind each statistic, from the arguments of the call.
    When it is a false alarm: the samples given here are smaller than those you train with, and positions are left
        where here is one.
    Fix: fewer groups, the norm before the pooling, or none there.
    References: Wu and He 2018; Ulyanov, Vedaldi and Lempitsky 2016.
    """
    single = [
        (layer, layer.norm) for layer in trace.layers
        if layer.norm is not None and layer.norm.type in ("group", "instance", "layer")
        and layer.norm.uses_batch_statistics and layer.norm.values_per_statistic == 1 and layer.count > 0
    ]  # fmt: skip
    if not single:
        return
    layer, norm = single[0]
    yield Finding(
        "NRM013", "degenerate-group", "error", "normalization", layer.module,
        message=f"{counted(len(single), 'norm')} with statistics over a single value; "
        f"first {layer.name or 'the root'} ({norm.type} norm, output {layer.shape}), which gives a constant.",
        why="A value less its own mean is zero: the input is lost there, and no gradient reaches what stands before.",
        advice="Let each statistic have more values: fewer groups, the norm before the pooling, or no norm there.",
        value=1.0, threshold=2.0, evidence={"layers": len(single), "type": norm.type},
        layers=tuple(record.name for record, _ in single),
    )  # fmt: skip
