"""Scales and shifts of norms: NRM005 decay-on-norm, NRM015 zero-gamma."""

from __future__ import annotations

from collections.abc import Iterator

from gainstage.rules.base import Finding, NotAssessed, Threshold, rule
from gainstage.rules.signal import consumers
from gainstage.trace.records import LayerRecord, ParameterRecord, Trace

EQUAL = Threshold("equal", 0.9999, "mean cosine between two samples' outputs", "1 where the input does not matter")


@rule(
    "NRM005", "decay-on-norm", severities=("info",), cause="optimizer",
    bad="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.LayerNorm(64), nn.ReLU(), nn.Linear(64, 3))
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(3, (64,))),
                             optimizer=torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.1))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.LayerNorm(64), nn.ReLU(), nn.Linear(64, 3))
        matrices = [p for p in model.parameters() if p.ndim >= 2]
        vectors = [p for p in model.parameters() if p.ndim < 2]
        groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(3, (64,))),
                             optimizer=torch.optim.AdamW(groups, lr=3e-3))
    """,
)  # fmt: skip
def decay_on_norm(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """Weight decay pulls scales and shifts of norms, and biases, towards zero.

    What: parameters of norms in a group of the optimizer whose weight decay is not zero; biases are counted with them.
    Why it hurts: decay keeps large weights from fitting noise. These vectors are few and fit none; decay only pulls
        scales from the 1 that passes the signal on.
    How measured: the optimizer's groups; norms and biases are those that the forward pass used as such.
    When it is a false alarm: many networks were trained so and do well: the loss is small, if there is one. Weight
        decay on scales is sometimes meant: it sets the effective learning rate.
    Fix: two groups, vectors without weight decay.
    References: Goyal et al. 2017, section 5.3; He et al. 2019, Bag of tricks, section 3.1.
    """
    if trace.optimizer is None:
        yield NotAssessed("NRM005", "needs an optimizer")
        return
    decayed = set(trace.optimizer.decayed)
    vectors = {entry.name for entry in trace.parameters if sum(size > 1 for size in entry.shape) <= 1}
    of_norms = _used(trace, vectors & decayed, norms=True)
    biases = _used(trace, vectors & decayed, norms=False)
    if not of_norms:
        return
    most = max(trace.optimizer.weight_decays, default=0.0)
    yield Finding(
        "NRM005", "decay-on-norm", "info", "optimizer", of_norms[0].rpartition(".")[0],
        message=f"Weight decay (up to {most:g}) acts on {len(of_norms)} scales and shifts of norms and on "
        f"{len(biases)} biases, first {of_norms[0]}.",
        why="These few vectors fit no noise; decay only pulls scales from the 1 that passes the signal on.",
        advice="Put parameters of one dimension into a group of their own with weight_decay=0.",
        value=float(len(of_norms) + len(biases)), threshold=0.0,
        evidence={"norm_parameters": len(of_norms), "biases": len(biases), "weight_decay": most},
    )  # fmt: skip


def _used(trace: Trace, among: set[str], *, norms: bool) -> list[str]:
    """The parameters of norms, or those that maps read behind their weight."""
    found: dict[str, None] = {}
    for layer in trace.layers:
        if norms and layer.kind == "norm":
            found.update(dict.fromkeys(layer.parameters))
        elif not norms and layer.kind in ("linear", "conv") and layer.bias_rms is not None:
            found.update(dict.fromkeys(layer.parameters[1:]))
    return [name for name in found if name in among]


@rule(
    "NRM015", "zero-gamma", severities=("warning", "info"), cause="normalization", thresholds=(EQUAL,),
    explains=("INI002", "INI003", "ACT001", "GRD001", "GRD003", "OPT002", "OPT003", "DAT007"),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 3))
        nn.init.zeros_(model[1].weight)
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(3, (64,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.first, self.second, self.norm = nn.Linear(64, 64), nn.Linear(64, 64), nn.BatchNorm1d(64)
                nn.init.zeros_(self.norm.weight)
            def forward(self, x):
                return x + self.norm(self.second(self.first(x).relu()))
        model = nn.Sequential(nn.Linear(16, 64), Block(), nn.Linear(64, 3))
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(3, (64,))))
    """,
)  # fmt: skip
def zero_gamma(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """A norm's scale is zero where nothing carries the signal past it.

    What: a norm with a scale of zero through which every way from the input to the loss leads.
    Why it hurts: the network's output does not depend on its input, and nothing before the norm gets a gradient. If
        an activation with slope zero at zero follows, the scale itself gets none: nothing there ever moves.
    How measured: the scale's largest value; the norm's output and the network's, which must not vary; the ways, from
        what reads what; the gradients of the norm's output and of what stands behind it.
    When it is a false alarm: residual branches with a scale of zero, which start as the identity, are not reported.
        Where the scale gets a gradient it leaves zero with the first step, and the finding is for information only.
    Fix: nn.init.ones_ on the scale; zeros only for the last norm of a residual branch.
    References: Goyal et al. 2017, section 5.1, for where zero is right; Ioffe and Szegedy 2015.
    """
    parameters = {entry.name: entry for entry in trace.parameters}
    zero = {position for position, layer in enumerate(trace.layers) if _is_zero(layer, parameters)}
    if not zero:
        return
    if not trace.backward:
        yield NotAssessed("NRM015", "needs a backward pass")
        return
    loss = trace.loss_record
    if loss is None or loss.input is None:
        yield NotAssessed("NRM015", "what the loss reads is not known")
        return
    block = _cut(trace, zero, loss.input)
    similarity = trace.layers[loss.input].similarity
    # Operations without a record may carry the input around all layers: then the outputs differ.
    if not block or (similarity is not None and similarity < EQUAL.value):
        return
    stuck = [position for position in block if _stuck(trace, position, parameters)]
    layer = trace.layers[(stuck or block)[0]]
    gradient = (
        "nor does its scale get a gradient: it stays zero"
        if stuck
        else "its scale gets a gradient and leaves zero with the first step"
    )
    yield Finding(
        "NRM015", "zero-gamma", "warning" if stuck else "info", "normalization", layer.module,
        message=f"The scale of {layer.name or 'the root'} is zero, and no way past it leads to the loss: what stands "
        f"before gets no gradient; {gradient}.",
        why="The output does not depend on the input until the scale has left zero.",
        advice="Start this scale at one; zero is for the last norm of a residual branch.",
        value=0.0, evidence={"layers": len(block), "stuck": len(stuck)},
        layers=tuple(trace.layers[position].name for position in block),
    )  # fmt: skip


def _is_zero(layer: LayerRecord, parameters: dict[str, ParameterRecord]) -> bool:
    if layer.norm is None or not layer.norm.affine or not layer.parameters or layer.norm.scale_rms != 0:
        return False
    # A scale that is written 1 + w has a w of zero, and an output that varies.
    scale = parameters.get(layer.parameters[0])
    return scale is not None and scale.max_abs == 0 and layer.channel_std == 0


def _cut(trace: Trace, zero: set[int], end: int) -> list[int]:
    """The zero norms that every way to this layer leads through, the first of each way from the end; else none."""
    found: set[int] = set()
    seen, waiting = {end}, [end]
    while waiting:
        here = waiting.pop()
        if here in zero:
            found.add(here)
            continue
        # A sum with a single source has the model's input for the other.
        layer = trace.layers[here]
        if not layer.inputs or (layer.op in ("add", "sub") and len(set(layer.inputs)) == 1):
            return []
        waiting.extend(source for source in layer.inputs if source not in seen)
        seen.update(layer.inputs)
    return sorted(found)


def _stuck(trace: Trace, position: int, parameters: dict[str, ParameterRecord]) -> bool:
    """Whether the scale gets no gradient although one arrives behind the norm's only reader."""
    layer = trace.layers[position]
    scale = parameters[layer.parameters[0]]
    if not scale.requires_grad:
        return True
    readers = consumers(trace.layers)[position]
    arrives = bool(readers) and all(trace.layers[reader].grad_rms for reader in readers)
    return not scale.grad_rms and not layer.grad_rms and arrives
