"""Which values a batch norm's statistics are of: NRM011 local-batch-norm, NRM014 batch-norm-on-sequence."""

from __future__ import annotations

from collections.abc import Iterator

from gainstage.rules.base import Finding, NotAssessed, Threshold, counted, rule
from gainstage.rules.normalization import FEW, VALUES, batch_norms
from gainstage.trace.records import LayerRecord, NormRecord, Trace

LOCAL = Threshold(
    "local", 4, "samples of a process",
    "Wu and He 2018: 3.7 points of accuracy at 4, 1.2 at 8; not seen on digits, hence no warning",
)  # fmt: skip
PADDED = Threshold("padded", 0.25, "share of the steps", "benchmarks/norm_batches.py (docs/thresholds.md)")


@rule(
    "NRM011", "local-batch-norm", severities=("warning", "info"), cause="normalization", status="preview",
    thresholds=(LOCAL, FEW, VALUES),
    explains=("NRM003",), claims=("small-batch",),
    bad="""
        import torch, gainstage as gs
        import torch.distributed as dist
        from torch import nn
        from torch.testing._internal.distributed.fake_pg import FakeStore
        # Stands for eight processes of eight samples each, as torchrun would start them.
        dist.init_process_group("fake", rank=0, world_size=8, store=FakeStore())
        model = nn.Sequential(nn.Linear(16, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 3))
        subject = gs.Subject(model, (torch.randn(8, 16), torch.randint(3, (8,))))
    """,
    good="""
        import torch, gainstage as gs
        import torch.distributed as dist
        from torch import nn
        from torch.testing._internal.distributed.fake_pg import FakeStore
        dist.init_process_group("fake", rank=0, world_size=8, store=FakeStore())
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(1568, 3))
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        subject = gs.Subject(model, (torch.randn(2, 3, 16, 16), torch.randint(3, (2,))))
    """,
)  # fmt: skip
def local_batch_norm(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """Each process of a group normalizes by its own few samples, and not by the whole batch.

    What: batch norms in training mode that are not synchronized, in a process group of two or more, where a process has
        fewer than 8 values per channel; for information, fewer than 16, or at most 4 samples, however large.
    Why it hurts: gradients are averaged over all processes, but statistics are of one: the batch is as small as a
        process's part of it to the norm. Running statistics are those of one process too.
    How measured: the size of the group of the DistributedDataParallel wrapper, or of the default group where it was
        initialized; the samples and the values behind each statistic.
    When it is a false alarm: a process group that splits the model and not the batch; a batch given here that is
        smaller than the one a process trains with. With many positions few samples may do: convolutional networks on
        digits lost nothing at 2 a process, a ResNet-50 on ImageNet 3.7 points at 4; that alone is no warning. Outside
        of a process group, and in one of a single process, the rule is silent.
    Fix: torch.nn.SyncBatchNorm.convert_sync_batchnorm(model) (gs.norm.to_sync), or group norm.
    References: Wu and He 2018, table 2; Peng et al. 2018, MegDet; Goyal et al. 2017, section 2.3.
    """
    if trace.world_size is None or trace.world_size < 2:
        return
    local = [
        (layer, norm) for layer, norm in batch_norms(trace)
        if norm.uses_batch_statistics and not norm.synchronized and _is_small(layer, norm)
    ]  # fmt: skip
    if not local:
        return
    layer, norm = min(local, key=lambda pair: pair[1].values_per_statistic)
    grave = norm.values_per_statistic < FEW.value
    few = norm.values_per_statistic < VALUES.value
    limit = FEW if grave else VALUES if few else LOCAL
    yield Finding(
        "NRM011", "local-batch-norm", "warning" if grave else "info", "normalization", layer.module,
        message=f"{counted(len(local), 'batch norm')} in a group of {trace.world_size} processes normalize by "
        f"{counted(layer.batch_size or 0, 'sample')} each, {layer.name or 'the root'} over {norm.values_per_statistic} "
        f"values; the whole batch has {trace.world_size} times as many.",
        why="Gradients are averaged over all processes, statistics are not: to the norm the batch is that small.",
        advice="Synchronize them: torch.nn.SyncBatchNorm.convert_sync_batchnorm(model), or gs.norm.to_sync.",
        value=float(norm.values_per_statistic if few else layer.batch_size or 0),
        threshold=limit.value,
        evidence={
            "world_size": trace.world_size, "layers": len(local), "values_per_statistic": norm.values_per_statistic
        },
        layers=tuple(record.name for record, _ in local),
    )  # fmt: skip


def _is_small(layer: LayerRecord, norm: NormRecord) -> bool:
    few = layer.batch_size is not None and layer.batch_size <= LOCAL.value
    return few or norm.values_per_statistic < VALUES.value


@rule(
    "NRM014", "batch-norm-on-sequence", severities=("info",), cause="normalization", thresholds=(PADDED,),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Conv1d(8, 16, 3, padding=1), nn.BatchNorm1d(16), nn.ReLU(), nn.AdaptiveAvgPool1d(1),
                              nn.Flatten(), nn.Linear(16, 3))
        lengths = torch.randint(8, 40, (32,))
        x = torch.randn(32, 8, 40) * (torch.arange(40) < lengths[:, None])[:, None]
        subject = gs.Subject(model, (x, torch.randint(3, (32,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Conv1d(8, 16, 3, padding=1), nn.BatchNorm1d(16), nn.ReLU(), nn.AdaptiveAvgPool1d(1),
                              nn.Flatten(), nn.Linear(16, 3))
        subject = gs.Subject(model, (torch.randn(32, 8, 40), torch.randint(3, (32,))))
    """,
)  # fmt: skip
def batch_norm_on_sequence(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """Batch norms over sequences take their padding into the statistics.

    What: batch norms in training mode over sequences (samples x channels x steps) of which at least a quarter of the
        steps is padding.
    Why it hurts: mean and variance are those of a mixture of signal and a constant, in a proportion that depends on the
        lengths in the batch. The running statistics keep that mixture: on batches that are padded otherwise, or not at
        all, the network was up to 10 points worse than one whose statistics left padding out.
    How measured: the share of steps at the end or at the beginning of a sample that repeat the last or the first one in
        all channels, where the norm reads them. Behind a convolution that pads, or attention, padding is no longer
        constant: the first norm shows more of it than the later ones, and padding behind attention is not seen.
    When it is a false alarm: it is for information only: such networks train, and where inference is padded as training
        was they lost 1 to 2 points (docs/thresholds.md). A signal that is really constant at its ends counts as padded.
        Packed sequences hold no padding, and are not reported.
    Fix: layer norm, or statistics over the real steps alone: index the signal by its mask before the norm; batches of
        sequences of like lengths.
    References: Ba, Kiros and Hinton 2016; Shen et al. 2020, PowerNorm.
    """
    padded = [
        (layer, norm.padded_share) for layer, norm in batch_norms(trace)
        if norm.padded_share is not None and norm.padded_share >= PADDED.value
    ]  # fmt: skip
    if not padded:
        return
    layer, share = max(padded, key=lambda pair: pair[1])
    yield Finding(
        "NRM014", "batch-norm-on-sequence", "info", "normalization", layer.module,
        message=f"{counted(len(padded), 'batch norm')} over padded sequences: at {layer.name or 'the root'} "
        f"{share:.0%} of the steps repeat the end of their sample.",
        why="The statistics mix the signal with a constant, in a proportion that changes with the lengths in a batch.",
        advice="Use LayerNorm, or let the norm read the real steps alone.",
        value=share, threshold=PADDED.value, evidence={"layers": len(padded)},
        layers=tuple(record.name for record, _ in padded),
    )  # fmt: skip
