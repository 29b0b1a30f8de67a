"""Units that start alike and stay alike: INI001 symmetric-init."""

from __future__ import annotations

from collections.abc import Iterator

from gainstage.rules.base import Finding, NotAssessed, Threshold, counted, rule
from gainstage.rules.signal import MAPS, shut
from gainstage.rules.weight_scales import reinitialize
from gainstage.trace.records import LayerRecord, Trace

NOISE = Threshold("noise", 1e-5, "of the largest gradient rms", "rounding in float32 sums of a thousand terms")


@rule(
    "INI001", "symmetric-init", severities=("error",), cause="init",
    explains=("INI002", "INI003", "INI009", "GRD001", "ACT001", "OPT002", "OPT003", "DAT007"),
    claims=("symmetry-breaking",),
    thresholds=(NOISE,),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
        nn.init.constant_(model[0].weight, 0.1)
        nn.init.constant_(model[2].weight, 0.1)
        subject = gs.Subject(model, (torch.randn(64, 8), torch.randint(3, (64,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
        nn.init.zeros_(model[2].weight)  # a zero read-out receives different gradients: no symmetry
        subject = gs.Subject(model, (torch.randn(64, 8), torch.randint(3, (64,))))
    """,
)  # fmt: skip
def symmetric_init(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """All units of a layer start equal and are pushed the same way, so they stay equal for ever.

    What: the rows of a weight matrix (its output units) hold the same values, and the rows of its gradient are
        equal too.
    Why it hurts: equal units that receive equal gradients remain equal: a layer of 512 units is one unit.
    How measured: equality of all rows of the weight and of all rows of its gradient, on one batch.
    When it is a false alarm: dropout or different inputs per unit break the symmetry later; a zero read-out or a
        zero last layer of a residual branch is not reported, because its gradients differ from unit to unit; nor is
        what stands in a branch that a norm with a scale of zero keeps closed at the start, or a map of zeros with drawn
        ones beside it, or the zero last layer of a branch whose gradient a zero read-out holds back: the skip tells its
        units apart once that has moved.
    Fix: draw the weights at random (gs.initialize).
    References: Goodfellow, Bengio and Courville 2016, section 8.4.
    """
    if not trace.backward:
        yield NotAssessed("INI001", "needs the gradients of a backward pass")
        return
    owners = {name: layer for layer in trace.layers if layer.kind in MAPS for name in layer.parameters[:1]}
    # Equal units whose gradients cancel to rounding noise are pushed nowhere, and stay equal too.
    noise = NOISE.value * max((p.grad_rms or 0.0 for p in trace.parameters), default=0.0)
    symmetric = [
        p
        for p in trace.parameters
        if p.equal_units
        and p.name in owners
        and p.grad_rms is not None
        and (p.grad_equal_units or p.grad_rms <= noise)
        and not (p.grad_rms == 0 and _held_back(trace, owners[p.name]))
    ]
    if symmetric:
        layers = tuple(owners[p.name].name for p in symmetric)
        first = symmetric[0]
        yield Finding(
            "INI001", "symmetric-init", "error", "init", owners[first.name].module,
            message=f"All {first.shape[0]} units of {first.name} start with the same weights and receive the same "
            "gradient" + (f"; so do those of {counted(len(layers) - 1, 'more layer')}." if len(layers) > 1 else "."),
            why="Units that start equal and are pushed the same way stay equal: the layer can only act as one unit.",
            advice="Draw the weights at random, for instance with gs.initialize(model, batch).",
            value=0.0, threshold=0.0, evidence={"weight_std": first.std, "weight_value": first.mean},
            fix=reinitialize("INI001"), layers=layers,
        )  # fmt: skip


def _held_back(trace: Trace, layer: LayerRecord) -> bool:
    """Whether what keeps the layer's gradient at zero opens with the first step, and tells its units apart."""
    return shut(trace, layer) or _ends_a_branch(trace, layer) or _in_a_closed_branch(trace, layer)


def _in_a_closed_branch(trace: Trace, layer: LayerRecord) -> bool:
    """Whether the layer stands in a residual branch with drawn units, behind which a map of zeros has a gradient.

    That map's first step tells the branch's values apart, and the layer's gradients with them.
    """
    position = next(i for i, other in enumerate(trace.layers) if other is layer)
    named = {parameter.name: parameter for parameter in trace.parameters}
    for block in trace.residuals:
        if position not in block.branch:
            continue
        maps = [trace.layers[i] for i in block.branch if trace.layers[i].kind in MAPS]
        weights = [named[name] for other in maps for name in other.parameters[:1] if name in named]
        opens = any(p.max_abs == 0 and p.grad_rms and not p.grad_equal_units for p in weights)
        if opens and any(p.equal_units is False for p in weights):
            return True
    return False


def _ends_a_branch(trace: Trace, layer: LayerRecord) -> bool:
    """Whether the layer, fed with a signal, is the last map of a residual branch beside a skip that carries one."""
    position = next(i for i, other in enumerate(trace.layers) if other is layer)
    if not layer.input_rms:
        return False
    for block in trace.residuals:
        maps = [index for index in block.branch if trace.layers[index].kind in MAPS]
        if maps and maps[-1] == position:
            return bool(trace.layers[block.sum].rms)
    return False
