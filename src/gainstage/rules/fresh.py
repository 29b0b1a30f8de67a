"""Whether weights are as an initialization has drawn them: what is frozen then was frozen before it learnt anything."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gainstage.rules.weight_scales import scheme_of
from gainstage.trace.records import LayerRecord

# Values of a weight: the variance of fewer scatters so far that trained ones may fit a scheme by chance.
ENOUGH = 256
# Of vision transformers and language models, whose schemes do not look at fans.
_FIXED_STDS = (0.02,)
_SCATTER = 4.0  # standard deviations


def freshly_drawn(layers: Sequence[LayerRecord]) -> bool:
    """Whether the weights of all these maps have a known scheme's variance, and their biases that of zeros or a draw.

    Training takes weights of some size off their scheme's variance, so that a trained trunk has layers that fit none.
    """
    judged = [layer for layer in layers if (layer.fan_in or 0) * (layer.fan_out or 0) >= ENOUGH]
    # Of a recurrent layer that is recorded map by map, the width of its state.
    states = {layer.module: layer.fan_in for layer in layers if layer.fan_in and _weight(layer).startswith("weight_hh")}
    return bool(judged) and all(_drawn(layer, states.get(layer.module)) for layer in judged)


def _weight(layer: LayerRecord) -> str:
    return layer.parameters[0].rpartition(".")[2] if layer.parameters else ""


def _drawn(layer: LayerRecord, state: float | None) -> bool:
    count = (layer.fan_in or 0.0) * (layer.fan_out or 0.0)
    packed = (1 / math.sqrt(3 * state),) if state and _weight(layer).startswith("weight_") else _packed_stds(layer)
    stds = (*_FIXED_STDS, *packed)
    known = any(abs((layer.weight_rms or 0.0) / std - 1) < _SCATTER / math.sqrt(2 * count) for std in stds)
    if not known and scheme_of(layer) is None:
        return False
    if not layer.bias_rms or not layer.fan_in or not layer.fan_out:
        return True
    # torch draws biases from U(-1/√fan_in, 1/√fan_in), of standard deviation 1/√(3 fan_in), and a recurrent layer's as
    # its weights.
    usual = packed if state else (1 / math.sqrt(3 * layer.fan_in),)
    return any(abs(layer.bias_rms / std - 1) < _SCATTER / math.sqrt(2 * layer.fan_out) for std in usual)


def _packed_stds(layer: LayerRecord) -> tuple[float, ...]:
    """Of torch's draws for what holds several maps: Xavier's with the fans of the whole, 1/√(3 H) of recurrent ones."""
    fan_in, fan_out = layer.fan_in or 0.0, layer.fan_out or 0.0
    if not fan_in or not fan_out:
        return ()
    if layer.op == "rnn":
        return tuple(1 / math.sqrt(3 * fan_out / gates) for gates in (1, 3, 4))
    packed = any(name.endswith("in_proj_weight") for name in layer.parameters)
    return (math.sqrt(2 / (fan_in + 3 * fan_out)),) if packed else ()
