"""INI008 packed-fans: weights of several maps drawn as if they were of one."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from gainstage.remedies.fix import Fix
from gainstage.rules.base import Finding, NotAssessed, Threshold, counted, rule
from gainstage.trace.graph import consumers
from gainstage.trace.records import LayerRecord, ParameterRecord, Trace

OFF = Threshold("off", 1.3, "std of the right draw over that of this one", "below it the packing hardly matters")
SCATTER = Threshold("scatter", 4.0, "standard errors of a variance", "one draw in 16,000 of normal weights is outside")
_RECURRENT = re.compile(r"(?P<cell>.*)weight_(ih|hh)(?P<layer>_l\d+(_reverse)?)?$")


@dataclass(frozen=True)
class _Packed:
    """A weight with the fans of one of the maps in it, and those that the whole is taken to have by mistake."""

    parameter: ParameterRecord
    layer: LayerRecord
    rms: float
    own: tuple[float, float]
    wholes: tuple[tuple[float, float], ...]
    what: str


@rule(
    "INI008", "packed-fans", severities=("info",), cause="init", thresholds=(OFF, SCATTER),
    bad="""
        import torch, gainstage as gs
        from torch import nn

        class Reader(nn.Module):
            def __init__(self):
                super().__init__()
                self.cell, self.head = nn.LSTM(16, 64, batch_first=True), nn.Linear(64, 3)
                nn.init.xavier_uniform_(self.cell.weight_hh_l0)  # four gates in one matrix

            def forward(self, x):
                return self.head(self.cell(x)[0][:, -1])

        subject = gs.Subject(Reader(), (torch.randn(64, 12, 16), torch.randint(3, (64,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn

        class Reader(nn.Module):
            def __init__(self):
                super().__init__()
                self.cell, self.head = nn.LSTM(16, 64, batch_first=True), nn.Linear(64, 3)
                for gate in self.cell.weight_hh_l0.data.chunk(4):
                    nn.init.xavier_uniform_(gate)

            def forward(self, x):
                return self.head(self.cell(x)[0][:, -1])

        subject = gs.Subject(Reader(), (torch.randn(64, 12, 16), torch.randint(3, (64,))))
    """,
)  # fmt: skip
def packed_fans(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """A weight that holds several maps was drawn with the fans of all of them together.

    What: q, k and v in one matrix, the gates of a recurrent cell, or the groups of a convolution, of the variance that
        Xavier's or He's scheme gives the weight as a whole, and not each of its maps.
    Why it hurts: each map starts with weights that are too small: by √2 for attention, √(5/2) for an LSTM's recurrent
        weights, √groups for a grouped convolution by fan_out.
    How measured: mean(W²) against the variances of the schemes with the fans of the whole and with those of one map,
        within what random draws scatter.
    When it is a false alarm: it cost nothing in attention and recurrent networks (docs/thresholds.md), and torch
        draws the packed weight of nn.MultiheadAttention so itself; hence it is worth knowing only. A normal draw may
        have such a variance by chance. What a norm reads is not reported.
    Fix: draw each map for itself: for part in weight.chunk(3), or gs.initialize, which knows packed weights.
    References: Glorot and Bengio 2010; pytorch issues 23854 (grouped fan_out) and 166378 (packed projections).
    """
    found = [(packed, scheme) for packed in _packed(trace) if (scheme := _drawn_as_one(packed)) is not None]
    if found:
        yield _finding(found)


def _packed(trace: Trace) -> Iterator[_Packed]:
    records = {p.name: p for p in trace.parameters if p.requires_grad and len(p.shape) >= 2}
    readers = consumers(trace.layers)
    seen: set[str] = set()
    for position, layer in enumerate(trace.layers):
        for name in layer.parameters if layer.op == "rnn" or layer.kind in ("linear", "conv") else ():
            # A norm behind it sets the level anew, whatever the weights' scale is.
            repaired = any(trace.layers[i].kind == "norm" for i in readers[position])
            if name not in records or name in seen or repaired or (layer.computed and layer.op != "rnn"):
                continue
            packed = _recurrent(records, name, layer) or _projected(records[name], layer)
            if packed is not None:
                seen.add(name)
                yield packed


def _recurrent(records: dict[str, ParameterRecord], name: str, layer: LayerRecord) -> _Packed | None:
    match = _RECURRENT.match(name)
    if match is None:
        return None
    hidden = records.get(f"{match['cell']}weight_hh{match['layer'] or ''}")
    if hidden is None or len(hidden.shape) != 2 or len(records[name].shape) != 2:
        return None
    gates, rest = divmod(*hidden.shape)
    if gates not in (3, 4) or rest:
        return None
    rows, columns = records[name].shape
    return _Packed(
        records[name], layer, records[name].rms, (columns, rows / gates), ((columns, rows),), f"{gates} gates"
    )


def _projected(parameter: ParameterRecord, layer: LayerRecord) -> _Packed | None:
    """q, k and v, the halves of a gated unit, a stack of matrices, or the groups of a convolution."""
    if not layer.fan_in or not layer.fan_out or layer.weight_rms is None or layer.parameters[0] != parameter.name:
        return None
    taps = math.prod(parameter.shape[2:])
    # As torch counts them, whatever the weight is.
    whole, own = (parameter.shape[1] * taps, parameter.shape[0] * taps), (layer.fan_in, layer.fan_out)
    groups = int((layer.attributes or {}).get("groups", 1))
    if layer.kind == "conv":
        # Without the stride, which torch leaves out of fan_out as well.
        own, all_channels = (whole[0], whole[1] / groups), (whole[0] * groups, whole[1])
        found = groups > 1 and "transpose" not in layer.op
        return (
            _Packed(parameter, layer, layer.weight_rms, own, (whole, all_channels), f"{groups} groups")
            if found
            else None
        )
    if len(parameter.shape) == 3 and parameter.shape[0] > 1:
        return _Packed(parameter, layer, layer.weight_rms, own, (whole,), f"{parameter.shape[0]} matrices")
    if len(parameter.shape) != 2 or whole[0] != own[0] or whole[1] <= own[1] or whole[1] % own[1]:
        return None
    return _Packed(parameter, layer, layer.weight_rms, own, (whole,), f"{int(whole[1] / own[1])} projections")


def _schemes(fans: tuple[float, float]) -> dict[str, float]:
    fan_in, fan_out = fans
    return {
        "Xavier's": 2 / (fan_in + fan_out), "He's": 2 / fan_in, "He's (fan_out)": 2 / fan_out, "LeCun's": 1 / fan_in,
        "torch's": 1 / (3 * fan_in),
    }  # fmt: skip


def _drawn_as_one(packed: _Packed) -> str | None:
    """The scheme that gives the whole weight this variance, if none gives it to one of its maps."""
    actual, right = packed.rms**2, _schemes(packed.own)
    if packed.layer.op == "rnn":
        right["torch's recurrent"] = 1 / (3 * packed.own[1])
    if any(_near(packed, actual, variance) for variance in right.values()):
        return None
    found = {
        name: abs(actual / variance - 1)
        for whole in packed.wholes
        for name, variance in _schemes(whole).items()
        if _near(packed, actual, variance) and right[name] > OFF.value**2 * variance
    }
    return min(found, key=found.__getitem__, default=None)


def _near(packed: _Packed, actual: float, variance: float) -> bool:
    count = math.prod(packed.parameter.shape)
    return abs(actual / variance - 1) <= SCATTER.value * math.sqrt(2 / count)


def _finding(found: list[tuple[_Packed, str]]) -> Finding:
    packed, scheme = found[0]
    right = _schemes(packed.own)[scheme]
    short = math.sqrt(right) / packed.rms
    more = f", and {counted(len(found) - 1, 'more weight')} like it" if len(found) > 1 else ""
    return Finding(
        "INI008", "packed-fans", "info", "init", packed.layer.module,
        message=f"{packed.parameter.name} holds {packed.what} and was drawn by {scheme} scheme with the fans of the "
        f"whole: its std is {packed.rms:.2g}, {short:.2g} times below the {math.sqrt(right):.2g} of one for itself"
        f"{more}.",
        why="The schemes count what one map sums and reaches; packing several in one weight is a matter of speed.",
        advice="Draw each part for itself, or use gs.initialize, which knows packed weights.",
        value=short, threshold=OFF.value, evidence={"scheme": scheme, "weights": len(found)},
        fix=Fix("INI008", "", "Draw the weights anew, each map for itself (gs.initialize).", "reinitialize",
                {"scheme": "auto", "seed": 0}),
        layers=tuple(dict.fromkeys(p.layer.name for p, _ in found)),
    )  # fmt: skip
