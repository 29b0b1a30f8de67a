"""INI005 bias-init: biases that drown what their layer reads."""

from __future__ import annotations

import math
from collections.abc import Iterator

from gainstage.remedies.fix import Fix
from gainstage.rules.base import Finding, NotAssessed, Threshold, counted, rule
from gainstage.rules.signal import MAPS
from gainstage.trace.graph import consumers
from gainstage.trace.records import LayerRecord, Trace

_MEASURED = "benchmarks/init_rules.py bias, development split (docs/thresholds.md)"
DROWNED = Threshold("drowned", 10.0, "rms of the bias over the level of W·x", _MEASURED)
LARGE = Threshold("large", 2.0, "rms of the bias", "biases of 1 are in use (forget gates, Krizhevsky et al. 2012)")
# Gates (sigmoid, softplus) are opened and shut by their biases, and periodic units are spread by them.
_BENDING = frozenset(
    ("relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish",
     "tanh", "hardtanh", "softsign")
)  # fmt: skip


@rule(
    "INI005", "bias-init", severities=("warning",), cause="init",
    explains=(
        "INI004", "INI006", "ACT001", "ACT002", "GRD001", "GRD002", "OPT001", "OPT002", "OPT003", "OPT004", "DAT007",
    ),
    thresholds=(DROWNED, LARGE),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 3))
        for linear in (model[0], model[2]):
            nn.init.constant_(linear.bias, 10.0)
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(3, (64,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
        nn.init.constant_(model[0].bias, 0.1)  # keeps rectifiers open
        nn.init.constant_(model[4].bias, 40.0)  # the targets' mean
        subject = gs.Subject(model, (torch.randn(64, 16), 40 + 12 * torch.randn(64, 1)))
    """,
)  # fmt: skip
def bias_init(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """Biases of a hidden layer are so large that its units hardly see what they read.

    What: a bias with an rms above 2 that is more than 10 times the level of the product to which it is added, in a map
        whose output goes through an activation that bends at zero.
    Why it hurts: an activation bends at zero. Where a bias holds all samples far on one side, a rectifier is linear or
        dead and a saturating unit sits on its plateau; what all samples share grows, and their differences drown.
    How measured: rms of the bias over √fan_in·rms(W)·rms(x), the level of the product to which it is added.
    When it is a false alarm: not judged are read-outs, whose bias may be the targets' mean or a class's log odds; maps
        before gates (sigmoid, softplus), sums, products, norms and attention; zero weights with a bias, as affine
        conditioning starts with; recurrent cells; frozen layers.
    Fix: zero biases, or small ones (0.01 to 0.1) before rectifiers.
    References: Glorot and Bengio 2010; He et al. 2015; Goodfellow, Bengio and Courville 2016, section 8.4.
    """
    readers = consumers(trace.layers)
    trained = {p.name for p in trace.parameters if p.requires_grad}
    found = [
        (ratio, layer)
        for position, layer in enumerate(trace.layers)
        if _is_trained_map(layer, trained)
        and _bends(trace, readers, position)
        and (layer.bias_rms or 0.0) > LARGE.value
        and (ratio := _over_product(layer)) > DROWNED.value
    ]
    if found:
        yield _finding(found)


def _is_trained_map(layer: LayerRecord, trained: set[str]) -> bool:
    """Whether it is a map with a bias, all of it trained."""
    return (
        layer.kind in MAPS and not layer.computed and len(layer.parameters) > 1 and trained.issuperset(layer.parameters)
    )


def _bends(trace: Trace, readers: list[list[int]], position: int) -> bool:
    """Whether activations that bend at zero are all that reads it, and none of them is the network's output."""
    return bool(readers[position]) and all(
        trace.layers[i].op in _BENDING and not trace.layers[i].via and readers[i] for i in readers[position]
    )


def _over_product(layer: LayerRecord) -> float:
    product = math.sqrt(layer.fan_in or 0.0) * (layer.weight_rms or 0.0) * (layer.input_rms or 0.0)
    return (layer.bias_rms or 0.0) / product if product else 0.0


def _finding(found: list[tuple[float, LayerRecord]]) -> Finding:
    ratio, worst = max(found, key=lambda pair: pair[0])
    layers = tuple(layer.name for _, layer in found)
    more = f", and {counted(len(layers) - 1, 'more layer')} like it" if len(layers) > 1 else ""
    return Finding(
        "INI005", "bias-init", "warning", "init", worst.module,
        message=f"The bias of {worst.name} has an rms of {worst.bias_rms:.3g}, {ratio:.3g} times the level of what the "
        f"weights make of the input{more}.",
        why="All samples lie on one side of where the activation bends: its units are linear, dead or saturated.",
        advice="Start biases at zero; 0.01 to 0.1 is enough to keep rectifiers open.",
        value=ratio, threshold=DROWNED.value, evidence={"bias_rms": worst.bias_rms, "layers": len(layers)},
        fix=Fix("INI005", "", "Draw the weights anew, with biases at zero (gs.initialize).", "reinitialize",
                {"scheme": "auto", "seed": 0}),
        layers=layers,
    )  # fmt: skip
