"""Why a parameter is left as it was: in words for the report, read off the trace."""

from __future__ import annotations

import math
import re

from gainstage.schemes.index import index
from gainstage.trace.records import LayerRecord, ParameterRecord, Trace

# Gates stacked in one matrix, run in a fused kernel on one device and step by step on another.
_RECURRENT = re.compile(r"(^|\.)(weight|bias)_(ih|hh|hr)(_l\d+(_reverse)?)?$")

FROZEN = "frozen (requires_grad is False)"
PARAMETRIZED = "parametrized: its weight is computed from several parameters"
COMPUTED = "of a layer that computes its weight from its parameters (weight norm, a scale)"
RECURRENT = "a recurrent layer: torch's own initialization is kept"
BILINEAR = "a bilinear layer: a product of two inputs has no fans"
EMBEDDING = "an embedding: its scale is the data's, not a matter of fans"
_USES = {
    "add": "a table that is added (positions, tokens): its scale is the signal's, not a matter of fans",
    "cat": "tokens put beside the signal: their scale is the signal's, not a matter of fans",
    "where": "tokens put in the signal's place: their scale is the signal's, not a matter of fans",
    "mul": "a scale (layer scale, gate), as built",
    "addcmul": "a scale and a shift, as built",
}
SHARED = "shared with an embedding, which reads it first: its scale is the data's, not a matter of fans"


def refusal(layer: LayerRecord, trace: Trace) -> str | None:
    """Why the weight of a linear or convolutional layer is not to be drawn; None if it is."""
    weight = layer.parameters[0]
    parameter = parameter_of(trace, weight)
    if not parameter.requires_grad:
        return FROZEN
    if "parametrizations." in weight:
        return PARAMETRIZED
    if _RECURRENT.search(weight):
        return RECURRENT
    if layer.op == "bilinear":
        return BILINEAR
    if layer.computed:
        return COMPUTED
    readers = readers_of(trace, weight)
    if readers[0].kind == "embedding":
        return SHARED
    return None if math.prod(parameter.shape) and layer.fan_in else "empty"


def reason(name: str, trace: Trace) -> str:
    """Why a parameter that no plan names was left as it was."""
    parameter, readers = parameter_of(trace, name), readers_of(trace, name)
    if not parameter.requires_grad:
        return FROZEN
    if "parametrizations." in name:
        return PARAMETRIZED
    if _RECURRENT.search(name):
        return RECURRENT
    if not readers and name in index(trace).applied:
        return _USES.get(index(trace).applied[name], "read outside of any layer")
    if not readers:
        return "read outside of any layer" if parameter.used else "not used in the forward pass of this batch"
    return _as_read(name, readers[0], trace)


def _as_read(name: str, reader: LayerRecord, trace: Trace) -> str:
    if reader.kind == "norm":
        return "scale or shift of a norm, neutral as built"
    if reader.kind == "embedding":
        return EMBEDDING
    if reader.kind == "activation":
        return f"a parameter of the activation {reader.op!r}"
    if reader.kind not in ("linear", "conv"):
        return RECURRENT if reader.op == "rnn" else _USES.get(reader.op, f"a parameter in {reader.op!r}: no fans")
    of_weight = refusal(reader, trace)
    if name == reader.parameters[0] or of_weight == COMPUTED:
        return of_weight or "not drawn"
    return "its layer's weight was left as it was" if of_weight else "not the bias alone: computed, or shared"


def parameter_of(trace: Trace, name: str) -> ParameterRecord:
    """The record of a parameter by its full path."""
    return index(trace).parameters[name]


def readers_of(trace: Trace, name: str) -> list[LayerRecord]:
    """The layers that read a parameter, in execution order."""
    return index(trace).readers.get(name, [])
