"""Units that are lost: ACT001 dead-units, ACT002 saturated-units."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import NormalDist

from gainstage.remedies.fix import Fix
from gainstage.rules.base import Finding, NotAssessed, Severity, Threshold, rule
from gainstage.trace.records import LayerRecord, Trace

DEAD = Threshold(
    "dead", 0.7, "share of units",
    "half of all units are off for every input once inputs are parallel in a deep healthy network; "
    "AUTOTRAINER and DeepDiagnosis alarm at 0.7",
)  # fmt: skip
DEAD_ERROR = Threshold("dead_error", 0.99, "share of units", "a layer that passes nothing on cannot learn")
VALUES = Threshold("values", 16, "values per unit", "below, a live unit is off throughout by chance: 2^-16 at 16")
# |z| from which on σ′(z) is below 5 % of its largest value, 1/4.
_GATE_EDGE = 4.36
SATURATED = Threshold("saturated", 0.5, "share of outputs", "DeepDiagnosis alarms above 0.5")


@rule(
    "ACT001", "dead-units", severities=("error", "warning"), cause="activation",
    explains=("GRD001", "INI003", "INI009", "OPT002", "OPT003", "DAT007"), thresholds=(DEAD, DEAD_ERROR, VALUES),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
        nn.init.constant_(model[2].bias, -5.0)
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(3, (64,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(3, (64,))))
    """,
)  # fmt: skip
def dead_units(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """Most units of a rectifier are zero for every sample, and so is their gradient.

    What: more than 70 % (error: 99 %) of a layer's units are exactly zero in every sample and position.
    Why it hurts: where a rectifier is zero its gradient is zero: a unit that is off for every input never learns.
    How measured: units whose outputs are all zero, on batches that give each unit at least 16 values.
    When it is a false alarm: sparse one-hot inputs, experts that this batch does not route to, a batch of one class.
    Fix: smaller negative biases, a lower learning rate, weights at the preserving gain, or leaky rectifiers.
    References: Maas, Hannun and Ng 2013; Lu et al. 2020, Dying ReLU and initialization.
    """
    rectifiers = [layer for layer in trace.layers if layer.dead_fraction is not None]
    large = [layer for layer in rectifiers if _values_per_unit(layer) >= VALUES.value]
    if rectifiers and not large:
        yield NotAssessed("ACT001", f"needs {VALUES.value:.0f} values per unit: pass a larger batch")
    dead = [layer for layer in large if (layer.dead_fraction or 0.0) > DEAD.value]
    if not dead:
        return
    worst = max(dead, key=lambda layer: layer.dead_fraction or 0.0)
    share = worst.dead_fraction or 0.0
    severity: Severity = "error" if share >= DEAD_ERROR.value else "warning"
    yield Finding(
        "ACT001", "dead-units", severity, "activation", dead[0].module,
        message=f"{share:.0%} of the units behind {worst.name} are zero for every one of the batch's samples"
        + (f"; {len(dead)} layers have more than {DEAD.value:.0%} of them." if len(dead) > 1 else "."),
        why="A rectifier that is zero passes no gradient: a unit that is off for every input never learns again.",
        advice="Look at the biases and the scale of the weights before it; re-draw them, or use a leaky rectifier.",
        value=share, threshold=DEAD.value, evidence={"layers": len(dead), "zero_fraction": worst.zero_fraction},
        fix=Fix("ACT001", "", "Re-draw the weights of every layer and set its biases to zero (gs.initialize).",
                "reinitialize", {"scheme": "auto", "seed": 0}),
        layers=tuple(layer.name for layer in dead),
    )  # fmt: skip


def _values_per_unit(layer: LayerRecord) -> float:
    units = layer.shape[1] if len(layer.shape) in (2, 4, 5) else layer.shape[-1]
    return layer.count / max(1, units)


@rule(
    "ACT002", "saturated-units", severities=("warning",), cause="activation",
    explains=("GRD001", "OPT002", "OPT003", "DAT007"), thresholds=(SATURATED,),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 3))
        nn.init.normal_(model[2].weight, std=2.0)
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(3, (64,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 3))
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(3, (64,))))
    """,
)  # fmt: skip
def saturated_units(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """Sigmoid or tanh units stand on their plateaus.

    What: more than half of a hidden layer's outputs lie where the activation's slope is below 5 % of its largest.
    Why it hurts: on a plateau the gradient is nearly zero: the layer before it learns very slowly.
    How measured: the share of outputs beyond the plateau's edge; the layer that the loss reads is left out. Of an LSTM,
        which torch runs as a whole, the share of its gates, from the scale of its weights and of what they read.
    When it is a false alarm: gates that are meant to be open or shut.
    Fix: smaller weights, standardised inputs, a norm before the activation.
    References: Glorot and Bengio 2010; Ioffe and Szegedy 2015, section 1.
    """
    read_out = trace.loss_record.input if trace.loss_record is not None else None
    shares = [(layer, _saturated(trace, layer)) for place, layer in enumerate(trace.layers) if place != read_out]
    saturated = [(layer, share) for layer, share in shares if share > SATURATED.value and layer.op != "hardsigmoid"]
    if not saturated:
        return
    worst, share = max(saturated, key=lambda pair: pair[1])
    yield Finding(
        "ACT002", "saturated-units", "warning", "activation", saturated[0][0].module,
        message=f"{share:.0%} of the {'gates' if worst.op == 'rnn' else 'outputs'} of {worst.name} ({worst.op}) lie on "
        + ("their plateaus" if worst.op == "rnn" else "its plateaus")
        + (f"; so does more than half in {len(saturated)} layers." if len(saturated) > 1 else "."),
        why="On a plateau the slope is nearly zero, so the layers before it receive almost no gradient.",
        advice="Bring what it reads to unit scale: standardised inputs, smaller weights, or a norm before it.",
        value=share, threshold=SATURATED.value, evidence={"layers": len(saturated)},
        fix=Fix("ACT002", "", "Re-draw the weights of every layer for the activation that follows it (gs.initialize).",
                "reinitialize", {"scheme": "auto", "seed": 0}),
        layers=tuple(layer.name for layer, _ in saturated),
    )  # fmt: skip


def _saturated(trace: Trace, layer: LayerRecord) -> float:
    """The share of its outputs, or of the gates of a recurrent layer that torch runs as a whole, on a plateau.

    What gates read is a sum of many terms and taken for normal, of variance n_in E w² E x² + n_h E u² E h².
    """
    if layer.op != "rnn":
        return layer.saturated_fraction or 0.0
    named = {parameter.name: parameter for parameter in trace.parameters}
    weights = [named[name] for name in layer.parameters if name in named and len(named[name].shape) == 2][:2]
    if len(weights) < 2 or layer.input_rms is None or layer.rms is None:
        return 0.0
    levels = (layer.input_rms, layer.rms)
    variance = sum(w.shape[1] * (w.rms * level) ** 2 for w, level in zip(weights, levels, strict=True))
    return 2 * (1 - NormalDist().cdf(_GATE_EDGE / math.sqrt(variance))) if variance > 0 else 0.0
