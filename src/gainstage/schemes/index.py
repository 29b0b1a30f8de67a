"""Looking things up in a trace of thousands of layers: built once for each trace, on the first question."""

from __future__ import annotations

from dataclasses import dataclass

from gainstage.trace import graph
from gainstage.trace.records import LayerRecord, ParameterRecord, Trace


@dataclass(frozen=True)
class Index:
    """A trace by name.

    Attributes:
        parameters: By full path.
        readers: Of each parameter, the layers in execution order.
        applied: Of each parameter that is no layer's, the operation that applies it to the signal.
        read_by: `graph.consumers` of its layers.
    """

    trace: Trace
    parameters: dict[str, ParameterRecord]
    readers: dict[str, list[LayerRecord]]
    applied: dict[str, str]
    read_by: list[list[int]]


_latest: list[Index] = []


def index(trace: Trace) -> Index:
    """The trace's index; that of the last trace asked for is kept."""
    if not _latest or _latest[0].trace is not trace:
        readers: dict[str, list[LayerRecord]] = {}
        for layer in trace.layers:
            for name in dict.fromkeys(layer.parameters):
                readers.setdefault(name, []).append(layer)
        parameters = {parameter.name: parameter for parameter in trace.parameters}
        applied = {name: op for layer in trace.layers for op, name in layer.modifiers}
        _latest[:] = [Index(trace, parameters, readers, applied, graph.consumers(trace.layers))]
    return _latest[0]
