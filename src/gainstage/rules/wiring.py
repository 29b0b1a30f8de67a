"""What reaches the parameters, and what does not: GRD003 no-gradient."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from gainstage.rules.base import Finding, NotAssessed, Severity, counted, loss_name, rule, some
from gainstage.rules.fresh import freshly_drawn
from gainstage.rules.signal import MAPS, stream
from gainstage.rules.tried import relief, told
from gainstage.trace.records import LayerRecord, ParameterRecord, Trace
from gainstage.trace.training_records import OptimizerRecord

FEW = 16  # samples: in fewer, dropping whole samples may leave a layer without any by chance
DEAD = 0.99  # share of units: what ACT001 calls an error explains a gradient of zero


@rule(
    "GRD003", "no-gradient", severities=("error", "warning", "info"), cause="wiring",
    explains=("GRD001", "OPT002", "OPT003"),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        class Rounded(nn.Module):
            def forward(self, x):
                return torch.round(x)  # its slope is zero everywhere
        model = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), Rounded(), nn.Linear(64, 3))
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(3, (64,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        class Branch(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner, self.outer = nn.Linear(64, 64), nn.Linear(64, 64)
                nn.init.zeros_(self.outer.weight)  # the inner map has no gradient before the first step: no fault
            def forward(self, x):
                return x + self.outer(torch.relu(self.inner(x)))
        model = nn.Sequential(nn.Linear(16, 64), Branch(), nn.ReLU(), nn.Linear(64, 3))
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(3, (64,))))
    """,
)  # fmt: skip
def no_gradient(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """A parameter that is meant to be trained receives no gradient, or one of exactly zero.

    What: error: the loss has no gradient at all. Warning: it ends on the way to a layer that the loss depends on, at
        an operation that passes none or nothing but zeros; or a layer's output is computed and goes nowhere; or the
        scores that a map computes, one a place, pass a softmax over that one, which is 1 whatever they are. Info:
        parameters that this batch's loss does not depend on; layers in front of the trained ones that are frozen with
        weights as an initialization draws them, which is a warning where a trial ends far better with nothing frozen.
    Why it hurts: what receives no gradient keeps its initial values for ever, and nothing says so.
    How measured: the gradients of one backward pass, along the shortest way back from the loss, past all branches;
        and which layer's output any other layer, the loss or the model's output is made of.
    When it is a false alarm: a trunk that is to stay as it is, cut off by detach(). A part that runs under no_grad,
        and parameters that the optimizer does not hold, are taken to be frozen on purpose; so are parameters that
        nothing has read (idle experts, heads for another task). Zeros behind weights of zero (zero-γ, LoRA, Fixup,
        a zero read-out), behind dead rectifiers and in residual branches are not reported.
    Fix: let the signal pass (no detach, .data, .item or numpy on its way; a straight-through estimator for rounding
        and sign), or say requires_grad_(False) to what is to stay as it is.
    References: Bengio, Léonard and Courville 2013, on gradients through steps; PyTorch, autograd mechanics.
    """
    reason = _without_figures(trace)
    trained = [p for p in trace.parameters if p.requires_grad and math.prod(p.shape)]
    if reason or not trained:
        yield NotAssessed("GRD003", reason or "no parameter is to be trained")
        return
    if all(parameter.grad_rms is None for parameter in trained):
        if trace.first_non_finite is not None:
            yield NotAssessed("GRD003", "the gradient is not finite (NUM001)")
            return
        yield from _nothing_at_all(trace, trained)
        return
    cut = _cut(trace) or _constant(trace) or _zeroed(trace) or _dropped(trace) or _frozen(trace)
    if cut is not None:
        yield cut
        return
    yield from _apart(trace, trained)


def _without_figures(trace: Trace) -> str:
    if not trace.backward:
        return "needs the gradients of a backward pass"
    return "" if math.isfinite(trace.loss) else "the loss is not finite"


def _nothing_at_all(trace: Trace, trained: Sequence[ParameterRecord]) -> Iterator[Finding | NotAssessed]:
    if loss_name(trace) == "surrogate":
        yield NotAssessed("GRD003", "needs a loss: the batch has no targets, and the outputs have no gradient")
        return
    yield Finding(
        "GRD003", "no-gradient", "error", "wiring", "",
        message=f"The loss has no gradient: none of the {counted(len(trained), 'trainable parameter')} receives any.",
        why="The backward pass has nothing to follow: it fails, or the parameters stay as they are for ever.",
        advice="Look for detach(), .data, .item(), numpy, argmax or torch.no_grad() between the model and the loss.",
        value=float(len(trained)), threshold=0.0, evidence={"kind": "all"},
    )  # fmt: skip


def _cut(trace: Trace) -> Finding | None:
    """The way back ends before a layer that the loss depends on."""
    way = _trained_layers(trace)
    fed = [index for index, (_, own) in enumerate(way) if any(p.grad_rms is not None for p in own)]
    starved = [i for i, (_, own) in enumerate(way) if all(p.grad_rms is None for p in own) and fed and i < fed[-1]]
    if not starved:
        return None
    frozen = any(parameter.name in trace.without_grad for parameter in way[starved[-1]][1])
    # A step that is written by hand may be one of several, as of a discriminator that reads a generator's output.
    by_hand = trace.optimizer is None and loss_name(trace) == "forward"
    severity: Severity = "info" if frozen or by_hand else "warning"
    return _stopped(trace, severity, way, starved, "ends", "under torch.no_grad()" if frozen else "")


def _zeroed(trace: Trace) -> Finding | None:
    """The way back goes on, and carries nothing but zeros."""
    way = _trained_layers(trace)
    zero = [index for index, (_, own) in enumerate(way) if all(p.grad_max_abs == 0 for p in own)]
    if not zero or trace.loss == 0 or any(p.dtype == "float16" for p in trace.parameters):
        return None
    trained = [p for p in trace.parameters if p.requires_grad]
    # A way on which all is zero is the loss's only where there is no other: one level of a detector may be idle.
    if zero[-1] == len(way) - 1 and any(parameter.grad_max_abs for parameter in trained):
        return None
    layers = stream(trace)
    behind = layers[layers.index(way[zero[-1]][0]) :]
    if any(_switched_off(trace, layer, first=position == 0) for position, layer in enumerate(behind)):
        return None
    return _stopped(trace, "warning", way, zero, "is exactly zero", "")


def _dropped(trace: Trace) -> Finding | None:
    """Layers whose output nothing reads that the loss or the model's output is made of: a variable was mistaken."""
    loss = trace.loss_record.input if trace.loss_record is not None else None
    if not trace.outputs or loss_name(trace) == "forward":
        return None  # what is made of them is not known
    trained = {p.name: p for p in trace.parameters if p.requires_grad and not _left_out(trace.optimizer, p.name)}
    with_gradient = [position for position, layer in enumerate(trace.layers) if layer.grad_rms is not None]
    heard = _ancestors(trace, [*trace.returned, *([] if loss is None else [loss]), *with_gradient])
    reached = {name for position in heard for name in trace.layers[position].parameters}
    dropped = [
        layer
        for position, layer in enumerate(trace.layers)
        if position not in heard
        and layer.kind in (*MAPS, "embedding")
        and layer.parameters
        and _starved(layer, trained, reached, trace)
    ]
    if not dropped:
        return None
    names = tuple(dict.fromkeys(layer.name for layer in dropped))
    # The last one of a list whose others are heard: the stream that it adds to ends before it.
    last_heard: dict[str, int] = {}
    for list_, at in itertools.chain.from_iterable(_places_in_lists(trace.layers[position]) for position in heard):
        last_heard[list_] = max(at, last_heard.get(list_, at))
    last = all(any(last_heard.get(list_, at) < at for list_, at in _places_in_lists(layer)) for layer in dropped)
    # Tables are looked up for other ends, too, where the outputs are made of something else.
    looked_up = bool(heard) and all(layer.kind == "embedding" for layer in dropped)
    severity: Severity = "info" if last or looked_up else "warning"
    return Finding(
        "GRD003", "no-gradient", severity, "wiring", dropped[0].module,
        message=f"What is computed by {some(names)} goes nowhere: neither the loss nor the model's output is made of "
        f"it, and {counted(len(names), 'trainable layer')} cannot learn.",
        why="What receives no gradient keeps its initial values for ever, and the network is smaller than it looks.",
        advice="Look behind it for a variable that is not read or is overwritten, or for argmax, round or numpy, which "
        "pass no gradient on.",
        value=float(len(names)), threshold=0.0, evidence={"kind": "dropped"}, layers=names,
    )  # fmt: skip


def _places_in_lists(layer: LayerRecord) -> list[tuple[str, int]]:
    """Each list of modules that the layer is one of, or is in one of, and its place there."""
    parts = layer.module.split(".")
    return [
        (".".join((*parts[:at], "*", *parts[at + 1 :])), int(part)) for at, part in enumerate(parts) if part.isdigit()
    ]


def _constant(trace: Trace) -> Finding | None:
    """A softmax over the one score that a map gives each place: attention that weighs all places alike."""
    for layer in trace.layers:
        if layer.op != "softmax" or len(layer.inputs) != 1 or layer.via or not _places(layer):
            continue
        scores, last = trace.layers[layer.inputs[0]], len(layer.shape) - 1
        # One key to attend to leaves a single weight, too, and is a matter of the data: its size is no map's.
        over_one = layer.shape[last] == 1 and int((layer.attributes or {}).get("dim", -1)) == last
        if scores.kind != "linear" or scores.shape != layer.shape or not over_one:
            continue
        size, place = max(((size, at) for at, size in enumerate(layer.shape[:last]) if at), default=(0, 0))
        if size > 1 or last == 1:
            where = f"dimension {place} if the samples stand in dimension 0" if place else "of each sample"
            return Finding(
                "GRD003", "no-gradient", "warning", "wiring", layer.module,
                message=f"{layer.name} is a softmax over dimension {last} of {layer.shape}, a single value: it is 1 "
                f"for every place, and {scores.name}, which computes the scores, receives no gradient.",
                why="All places get the same weight, and what should tell them apart cannot learn to.",
                advice=f"Take the softmax over the places, {where}.",
                value=1.0, threshold=1.0, evidence={"kind": "constant"}, layers=(layer.name, scores.name),
            )  # fmt: skip
    return None


def _places(layer: LayerRecord) -> bool:
    """Whether there are several places for each sample: in dimensions of their own, or one below the other."""
    rows = layer.batch_size
    return len(layer.shape) > 2 or (len(layer.shape) == 2 and rows is not None and layer.shape[0] > rows)


def _frozen(trace: Trace) -> Finding | None:
    """Layers in front of trained ones that require no gradient, and whose weights are as they were drawn."""
    trained = {p.name for p in trace.parameters if p.requires_grad and p.grad_rms is not None}
    last = next(
        (i for i, layer in reversed(list(enumerate(trace.layers))) if trained.intersection(layer.parameters)), None
    )
    if last is None:
        return None
    named = {parameter.name: parameter for parameter in trace.parameters}
    before = _ancestors(trace, [last]) - {last}
    frozen = [
        layer
        for position, layer in enumerate(trace.layers)
        if position in before and layer.kind in MAPS and layer.parameters
        and not any(named[name].requires_grad for name in layer.parameters if name in named)
    ]  # fmt: skip
    if not freshly_drawn(frozen):
        return None
    names = tuple(dict.fromkeys(layer.name for layer in frozen))
    ends = relief(trace, "frozen")
    return Finding(
        "GRD003", "no-gradient", "info" if ends is None else "warning", "wiring", frozen[0].module,
        message=f"Frozen in front of trained layers, with weights that look as drawn: {some(names)}. Nothing "
        "was learnt in them, and nothing will be."
        + ("" if ends is None else f" {told(trace, ends, 'with nothing frozen')}"),
        why="What follows learns from random features, which are worth less than trained ones.",
        advice="Load the pretrained weights before freezing, or leave requires_grad on.",
        value=float(len(names)), threshold=0.0, evidence={"kind": "frozen"}, layers=names,
    )  # fmt: skip


def _starved(layer: LayerRecord, trained: Mapping[str, ParameterRecord], reached: set[str], trace: Trace) -> bool:
    own = [trained[name] for name in layer.parameters if name in trained and name not in reached]
    return bool(own) and all(p.grad_rms is None and p.name not in trace.without_grad for p in own)


def _ancestors(trace: Trace, positions: Iterable[int]) -> set[int]:
    """The layers that these are made of, themselves among them."""
    found: set[int] = set()
    queue = list(positions)
    while queue:
        position = queue.pop()
        if position not in found:
            found.add(position)
            queue.extend(trace.layers[position].inputs)
    return found


def _switched_off(trace: Trace, layer: LayerRecord, *, first: bool) -> bool:
    """Whether the layer passes no gradient for a reason of its own that the first step, or another rule, takes care of.

    Args:
        first: Its own weights do not stand in the way of its own gradient.
    """
    named = {parameter.name: parameter for parameter in trace.parameters}
    read = [] if first else [*layer.parameters[:1], *(name for _, name in layer.modifiers)]
    return (
        any(name in named and named[name].max_abs == 0 for name in read)
        or layer.rms in (None, 0)
        or layer.input_rms == 0
        or (layer.dead_fraction or 0.0) >= DEAD
        or ("dropout" in layer.via and (layer.batch_size or 0) < FEW)
        or layer.dtype == "float16"
    )


def _trained_layers(trace: Trace) -> list[tuple[LayerRecord, list[ParameterRecord]]]:
    """The layers on the shortest way from the input to the loss with what of them is trained, each parameter once."""
    named = {p.name: p for p in trace.parameters if p.requires_grad and not _left_out(trace.optimizer, p.name)}
    found: list[tuple[LayerRecord, list[ParameterRecord]]] = []
    for layer in stream(trace):
        own = [named.pop(name) for name in layer.parameters if name in named]
        if own and layer.kind in (*MAPS, "norm", "embedding"):
            found.append((layer, own))
    return found


def _stopped(
    trace: Trace,
    severity: Severity,
    way: Sequence[tuple[LayerRecord, list[ParameterRecord]]],
    where: Sequence[int],
    what: str,
    how: str,
) -> Finding:
    layer, _ = way[where[-1]]
    names = tuple(way[index][0].name for index in where)
    ops = [op for op in _between(trace, layer, way[where[-1] + 1 :]) if op in _STEPS]
    through = f", through {ops[-1]}, whose slope is zero" if ops else f", {how}" if how else ""
    return Finding(
        "GRD003", "no-gradient", severity, "wiring", layer.module,
        message=f"The gradient {what} behind {layer.name or 'the root'}{through}: "
        f"{counted(len(names), 'trainable layer')} on the way to the loss ({some(names)}) cannot learn.",
        why="What receives no gradient keeps its initial values for ever, and nothing says so.",
        advice="Take out what stops it (detach, .data, numpy, round, sign, argmax; a straight-through estimator lets "
        "it pass), or call requires_grad_(False) on what is to stay as it is.",
        value=float(len(names)), threshold=0.0,
        evidence={"kind": "cut" if what == "ends" else "zero", "behind": layer.name, "ops": list(ops)}, layers=names,
    )  # fmt: skip


def _between(
    trace: Trace, layer: LayerRecord, following: Sequence[tuple[LayerRecord, list[ParameterRecord]]]
) -> list[str]:
    """The operations without a record between a layer and the next trained one, or the loss."""
    layers = stream(trace)
    end = layers.index(following[0][0]) + 1 if following else len(layers)
    loss_via = trace.loss_record.via if trace.loss_record and not following else ()
    return [op for behind in layers[layers.index(layer) + 1 : end] for op in behind.via] + list(loss_via)


_STEPS = ("round", "floor", "ceil", "sign", "trunc", "heaviside", "argmax", "bernoulli", "gt", "lt", "ge", "le")


def _apart(trace: Trace, trained: Sequence[ParameterRecord]) -> Iterator[Finding]:
    """Parameters that the loss of this batch does not depend on."""
    without = [p for p in trained if p.grad_rms is None and not _left_out(trace.optimizer, p.name)]
    unused = [p.name for p in without if not p.used]
    # Without targets it is not known which of its outputs a model is trained on.
    unheard = [] if loss_name(trace) == "surrogate" else [p.name for p in without if p.used]
    names = [*unused, *unheard]
    if not names:
        return
    parts = [f"{counted(len(unused), 'parameter')} read by nothing ({some(unused)})"] if unused else []
    parts += [f"{counted(len(unheard), 'parameter')} that the loss does not hear of ({some(unheard)})"] * bool(unheard)
    yield Finding(
        "GRD003", "no-gradient", "info", "wiring", names[0].rpartition(".")[0],
        message=f"Trainable, but without a gradient on this batch: {' and '.join(parts)}.",
        why="They keep their initial values unless another batch or another loss reads them.",
        advice="If they are not meant for something else, take them out; DistributedDataParallel waits for them.",
        value=float(len(names)), threshold=0.0, evidence={"kind": "apart", "unused": unused, "unheard": unheard},
    )  # fmt: skip


def _left_out(optimizer: OptimizerRecord | None, name: str) -> bool:
    return optimizer is not None and name in optimizer.missing
