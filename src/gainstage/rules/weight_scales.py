"""The scale of weights against what preserves the signal: how far off it is, and which scheme it is of."""

from __future__ import annotations

import math

from gainstage.remedies.fix import Fix
from gainstage.rules.prediction import preserving_weight_var, weight_var
from gainstage.rules.signal import Segment, segments
from gainstage.trace.records import LayerRecord, Trace


def reinitialize(code: str) -> Fix:
    """The fix of all findings whose cause is the scale of the weights."""
    summary = "Re-draw the weights of every layer for the activation that follows it (gs.initialize)."
    return Fix(code, "", summary, "reinitialize", {"scheme": "auto", "seed": 0})


def factor(decades: float) -> str:
    """10^decades as a reader takes it in: ``a factor 30``, ``a factor 4e+06``."""
    if math.isinf(decades):
        return "everything"
    size = 10 ** abs(decades)
    return f"a factor {size:.1f}" if size < 10 else f"a factor {size:.0f}" if size < 1e4 else f"a factor {size:.0e}"


def mismatches(segment: Segment) -> list[tuple[LayerRecord, float]]:
    """Each hidden map with log10 of its gain over the one that preserves the level before its activation."""
    found: list[tuple[LayerRecord, float]] = []
    for layer in segment.maps:
        actual, preserving = weight_var(layer), preserving_weight_var(segment.activation_after(layer))
        if actual is not None and preserving is not None:
            found.append((layer, 0.5 * math.log10(actual / preserving) if actual > 0 else -math.inf))
    return found


def accumulated_mismatch(trace: Trace) -> float:
    """The mismatch of the worst segment, in decades."""
    sums = [sum(value for _, value in mismatches(segment)) for segment in segments(trace)]
    return max(sums, key=abs, default=0.0)


def scheme_of(layer: LayerRecord) -> str | None:
    """The well-known scheme whose variance these weights have, within what as many random draws scatter."""
    actual, fan_in, fan_out = weight_var(layer), layer.fan_in, layer.fan_out
    if actual is None or not fan_in or not fan_out:
        return None
    count = fan_in * fan_out
    tolerance = max(0.03, 4 * math.sqrt(2 / count))
    candidates = {
        "He's scheme": 2.0,
        "Xavier/Glorot's scheme": 2 * fan_in / (fan_in + fan_out),
        "torch's default (kaiming_uniform, a=√5)": 1 / 3,
        "LeCun's scheme": 1.0,
    }
    near = {name: abs(actual / value - 1) for name, value in candidates.items()}
    best = min(near, key=near.__getitem__)
    return best if near[best] <= tolerance else None
