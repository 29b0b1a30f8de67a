"""A softmax in the place of an activation: ACT006 hidden-softmax."""

from __future__ import annotations

from collections.abc import Iterator

from gainstage.rules.base import Finding, NotAssessed, Threshold, counted, rule
from gainstage.rules.signal import MAPS
from gainstage.trace.graph import consumers
from gainstage.trace.records import LayerRecord, Trace

UNITS = Threshold("units", 8, "units of a softmax", "of fewer each may well be large: two are a sigmoid and its rest")


@rule(
    "ACT006", "hidden-softmax", severities=("warning",), cause="activation", status="preview",
    explains=("INI003", "INI009", "GRD001", "OPT002", "OPT003", "DAT007"), thresholds=(UNITS,),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.Softmax(dim=1), nn.Linear(64, 3))
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(3, (64,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        class Pooled(nn.Module):
            def __init__(self):
                super().__init__()
                self.scores, self.values, self.head = nn.Linear(8, 1), nn.Linear(8, 32), nn.Linear(32, 3)
            def forward(self, x):
                weights = self.scores(x).softmax(dim=1)  # of what is averaged: no activation
                return self.head((weights * self.values(x)).sum(dim=1))
        subject = gs.Subject(Pooled(), (torch.randn(64, 12, 8), torch.randint(3, (64,))))
    """,
)  # fmt: skip
def hidden_softmax(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """A softmax stands between two layers, where an activation is meant.

    What: a map's outputs, eight units or more of each sample or place, pass a softmax over the units, and nothing but
        further maps with biases reads them.
    Why it hurts: its outputs sum to one, so that each is about one over their number: the signal falls by that factor
        and its variance by more, and what is left of the gradient by as much.
    How measured: the operation between two maps, the dimension that it sums over, and what reads it.
    When it is a false alarm: a soft choice among as many rows of a table; as a rule such a table has no bias. Weights
        of an average (attention, pooling, mixtures of experts) multiply something and are not reported.
    Fix: ReLU, GELU or tanh between layers; softmax at the end alone, and not even there before CrossEntropyLoss.
    References: Goodfellow, Bengio and Courville 2016, section 6.2.2.3.
    """
    read_by = consumers(trace.layers)
    found = [layer for position, layer in enumerate(trace.layers) if _in_between(trace, layer, read_by[position])]
    if not found:
        return
    first = found[0]
    units = first.shape[_axis(first)]
    yield Finding(
        "ACT006", "hidden-softmax", "warning", "activation", first.module,
        message=f"{first.name or 'the root'} is a softmax over {units} hidden units: their outputs sum to one, and are "
        f"{1 / units:.2g} on average"
        + (f"; so does {counted(len(found) - 1, 'more layer')}." if len(found) > 1 else "."),
        why="Next to nothing of the signal is passed on, and less of the gradient comes back: what is before it "
        "hardly learns.",
        advice="Use ReLU, GELU or tanh between layers, and a softmax at the end alone.",
        value=float(units), threshold=UNITS.value, evidence={"rms": first.rms, "layers": len(found)},
        layers=tuple(layer.name for layer in found),
    )  # fmt: skip


def _axis(layer: LayerRecord) -> int:
    """The dimension of the units: the second of pictures, else the last."""
    return 1 if len(layer.shape) >= len(("samples", "channels", "height", "width")) else len(layer.shape) - 1


def _in_between(trace: Trace, layer: LayerRecord, readers: list[int]) -> bool:
    if layer.op != "softmax" or len(layer.inputs) != 1 or layer.via or len(layer.shape) <= 1:
        return False
    before, behind = trace.layers[layer.inputs[0]], [trace.layers[reader] for reader in readers]
    over_units = int((layer.attributes or {}).get("dim", -1)) == _axis(layer)
    return (
        before.kind in MAPS and before.shape == layer.shape
        and over_units and layer.shape[_axis(layer)] >= UNITS.value
        and bool(behind)
        and all(
            reader.kind in MAPS and reader.bias_rms is not None and set(reader.via) <= {"dropout"}
            and len(reader.inputs) == 1
            for reader in behind
        )
    )  # fmt: skip
