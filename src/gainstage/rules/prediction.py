"""What theory expects of a plain segment: the level of a network of its widths at unit gain, with its band."""

from __future__ import annotations

import math
from functools import lru_cache

from gainstage import theory
from gainstage.errors import InputError
from gainstage.rules.signal import Segment, segments
from gainstage.trace.records import LayerRecord, Trace

# Their mean is not zero: the level that they keep says nothing of the signal in it.
_UNCENTRED = ("sigmoid", "hardsigmoid", "softplus", "log_sigmoid")


@lru_cache(maxsize=256)
def _activation(op: str, attributes: tuple[tuple[str, float], ...]) -> theory.Activation | None:
    if op not in theory.activation_names():
        return None
    try:
        return theory.activation(op, **dict(attributes))
    except InputError:
        return None


def activation_of(layer: LayerRecord | None) -> theory.Activation | None:
    """The activation of a record, the identity for no record, None where theory does not know it."""
    if layer is None:
        return theory.activation("identity")
    return _activation(layer.op, tuple(sorted((layer.attributes or {}).items())))


@lru_cache(maxsize=256)
def _preserving(act: theory.Activation) -> float:
    return theory.preserving_weight_var(act)


def preserving_weight_var(behind: LayerRecord | None) -> float | None:
    """The fan_in·Var W that preserves the level before this activation; None where none does."""
    if behind is not None and behind.op in _UNCENTRED:
        return None
    act = activation_of(behind)
    return None if act is None else _preserving(act)


def weight_var(layer: LayerRecord) -> float | None:
    """fan_in times the second moment of a map's weights as they are."""
    if layer.fan_in is None or layer.weight_rms is None:
        return None
    return layer.fan_in * layer.weight_rms**2


def unit_gain_bands(segment: Segment) -> dict[str, tuple[float, float]]:
    """Name of each hidden map to the (low, high) band of its rms, were the segment at unit gain.

    It starts from what the segment's first map reads, as measured, and ends before the first activation that
    theory does not know.
    """
    layers: list[theory.Layer] = []
    maps = segment.maps
    if not maps or not maps[0].input_rms:
        return {}
    for layer in maps:
        behind = segment.activation_after(layer)
        act, preserving = activation_of(behind), preserving_weight_var(behind)
        if act is None or preserving is None:
            break
        width = layer.shape[1] if layer.kind == "conv" else layer.shape[-1]
        layers.append(theory.Layer(max(1, width), act, preserving))
    if not layers:
        return {}
    levels = theory.propagate(maps[0].input_rms ** 2, layers)
    return {
        layer.name: (level.low, level.high)
        for layer, level in zip(maps, levels, strict=False)
        if 0 < level.rms < math.inf
    }


def bands(trace: Trace) -> dict[str, tuple[float, float]]:
    """`unit_gain_bands` of all segments that no norm repairs."""
    found: dict[str, tuple[float, float]] = {}
    for segment in segments(trace):
        if segment.repaired_by is None:
            found.update(unit_gain_bands(segment))
    return found
