"""Where two affine maps follow each other and nothing between them bends the signal: ACT003 missing-nonlinearity."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from gainstage.rules.base import Finding, NotAssessed, Severity, Threshold, counted, rule
from gainstage.rules.signal import MAPS, main_path
from gainstage.trace.graph import consumers
from gainstage.trace.records import LayerRecord, Trace

# What an operation without a record may do between two maps and leave them one affine map: a mask, a mean, a scale.
# Whatever is not named here is taken for a nonlinearity.
LINEAR_VIA = frozenset({
    "dropout", "native_dropout", "alpha_dropout", "feature_dropout", "mean", "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "_adaptive_avg_pool2d",
    "_adaptive_avg_pool3d", "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_bilinear2d",
    "neg",
})  # fmt: skip
_READ_OUTS = ("softmax", "log_softmax", "sigmoid")


@dataclass(frozen=True)
class Pair:
    """Two maps that act as one: ``second`` alone reads ``first``, through a batch norm (``norm``) at most."""

    first: LayerRecord
    second: LayerRecord
    norm: LayerRecord | None = None


def unbroken(trace: Trace) -> tuple[Pair, ...]:
    """All such pairs that a single map of the same size or a smaller one could replace, in order of execution.

    Left out is what is built of two maps on purpose: a factorisation, whose middle is narrower than both ends, maps in
    groups (depthwise-separable convolutions) and kernels that extend along different dimensions.
    """
    read_by = consumers(trace.layers)
    shapes = {parameter.name: parameter.shape for parameter in trace.parameters}
    found: list[Pair] = []
    for position, layer in enumerate(trace.layers):
        pair = _pair(trace, position, read_by) if layer.kind in MAPS and layer.op != "bilinear" else None
        if pair is not None and not _on_purpose(pair, shapes):
            found.append(pair)
    return tuple(found)


def bends(trace: Trace) -> int:
    """How many places on the way from input to loss bend the signal; an activation that ends the network is none."""
    path = main_path(trace)
    hidden = path[:-1] if path and path[-1].op in _READ_OUTS else path
    return sum(_bends(layer) or bool(set(layer.via) - LINEAR_VIA) for layer in hidden)


def _bends(layer: LayerRecord) -> bool:
    if layer.kind == "norm":
        return layer.norm is not None and layer.norm.type != "batch"
    # A recurrent network run as one operation has its activations inside.
    return layer.kind in ("activation", "attention") or layer.op in ("rnn", "bilinear")


BENDS = Threshold(
    "bends", 1, "nonlinear layers on the way from input to loss",
    "benchmarks/depth_rules.py: with one left the task was learned all the same (docs/thresholds.md)",
)  # fmt: skip


@rule(
    "ACT003", "missing-nonlinearity", severities=("warning", "info"), cause="activation", status="preview",
    explains=("OPT003",),
    thresholds=(BENDS,),
    bad="""
        import torch, gainstage as gs
        from torch import nn

        class Classifier(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc1, self.fc2 = nn.Linear(16, 64), nn.Linear(64, 3)

            def forward(self, x):
                return self.fc2(self.fc1(x))

        subject = gs.Subject(Classifier(), (torch.randn(64, 16), torch.randint(3, (64,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn

        class Classifier(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc1, self.fc2 = nn.Linear(16, 64), nn.Linear(64, 3)

            def forward(self, x):
                return self.fc2(self.fc1(x).relu())

        subject = gs.Subject(Classifier(), (torch.randn(64, 16), torch.randint(3, (64,))))
    """,
)  # fmt: skip
def missing_nonlinearity(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """Two affine maps follow each other with nothing between that is not linear: they act as one.

    What: a map alone reads another, directly or through dropout, averages or a batch norm, and a single map no larger
        than the two could do the same. It is a warning where nothing else on the way from input to loss bends the
        signal, so that the whole network is one affine map, and worth knowing otherwise.
    Why it hurts: a stack of affine maps is an affine map; what no straight line parts, it cannot learn, however deep
        it is.
    How measured: the operations between maps, as they ran. Factorisations are left out: a middle narrower than both
        ends (low-rank adapters, bottlenecks, factorised embeddings), maps in groups (depthwise-separable
        convolutions), kernels that extend along different dimensions; so is a map that something else reads as well.
    When it is a false alarm: deep linear networks that are studied as such. That a map more or less is without
        an activation was no loss where others have theirs; published networks have such places (the first linear
        bottleneck of MobileNetV3), which is why it is no warning there.
    Fix: put an activation between the two, or make them one map.
    References: Goodfellow, Bengio and Courville 2016, section 6.3; Saxe, McClelland and Ganguli 2014.
    """
    pairs = unbroken(trace)
    if not pairs:
        return
    on_path = {id(layer) for layer in main_path(trace)}
    linear = bends(trace) < BENDS.value and any({id(pair.first), id(pair.second)} <= on_path for pair in pairs)
    severity: Severity = "warning" if linear else "info"
    first = pairs[0]
    through = "" if first.norm is None else f", through the batch norm {first.norm.name} alone"
    more = f"; so do {counted(len(pairs) - 1, 'more pair')} of maps" if len(pairs) > 1 else ""
    whole = ". No activation stands anywhere on the way to the loss" if linear else ""
    yield Finding(
        "ACT003", "missing-nonlinearity", severity, "activation", first.second.module,
        message=f"{first.second.name or 'The root'} reads {first.first.name or 'the root'} with nothing between that "
        f"is not linear{through}: the two act as one map{more}{whole}.",
        why="The whole network is one affine map, however many layers it has: it can only draw straight lines."
        if linear else "Two affine maps in a row can do no more than one: one of them is paid for and not used.",
        advice="Put an activation between the two, or replace them by one map.",
        value=float(bends(trace)), threshold=BENDS.value, evidence={"pairs": len(pairs), "bends": bends(trace)},
        layers=tuple(dict.fromkeys(layer.name for pair in pairs for layer in (pair.first, pair.second))),
    )  # fmt: skip


def _pair(trace: Trace, position: int, read_by: list[list[int]]) -> Pair | None:
    """The pair of which the layer here is the second."""
    second = trace.layers[position]
    before = _only_source(trace, position, read_by)
    norm = None
    if before is not None and (record := trace.layers[before]).norm is not None and record.norm.type == "batch":
        norm, before = record, _only_source(trace, before, read_by)
    if before is None or trace.layers[before].kind not in MAPS or trace.layers[before].op == "bilinear":
        return None
    return Pair(trace.layers[before], second, norm)


def _only_source(trace: Trace, position: int, read_by: list[list[int]]) -> int | None:
    """The one layer that this one reads, if it is the only reader and what lies between is linear."""
    layer = trace.layers[position]
    if len(layer.inputs) != 1 or set(layer.via) - LINEAR_VIA or layer.modifiers:
        return None
    source = layer.inputs[0]
    read_by_loss = trace.loss_record is not None and trace.loss_record.input == source
    return source if read_by[source] == [position] and not read_by_loss else None


def _on_purpose(pair: Pair, shapes: dict[str, tuple[int, ...]]) -> bool:
    first, second = pair.first, pair.second
    if any((layer.attributes or {}).get("groups", 1) != 1 or layer.fan_in is None for layer in (first, second)):
        return True
    kernels = [_kernel(layer, shapes) for layer in (first, second)]
    along = [{dim for dim, taps in enumerate(kernel) if taps > 1} for kernel in kernels]
    if along[0] and along[1] and not along[0] & along[1]:
        return True
    read = (first.fan_in or 0.0) / math.prod(kernels[0])
    return _width(first) < min(read, _width(second))


def _kernel(layer: LayerRecord, shapes: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    """The taps of a convolution along each dimension; empty for a linear map."""
    if layer.kind != "conv":
        return ()
    return max((shapes.get(name, ())[2:] for name in layer.parameters), key=math.prod, default=())


def _width(layer: LayerRecord) -> int:
    channels = 1 if layer.kind == "conv" and len(layer.shape) > 2 else -1
    return layer.shape[channels]
