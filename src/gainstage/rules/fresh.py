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
    return bool(judged) and all(_drawn(layer) for layer in judged)


def _drawn(layer: LayerRecord) -> bool:
    count = (layer.fan_in or 0.0) * (layer.fan_out or 0.0)
    fixed = any(abs((layer.weight_rms or 0.0) / std - 1) < _SCATTER / math.sqrt(2 * count) for std in _FIXED_STDS)
    if not fixed and scheme_of(layer) is None:
        return False
    if not layer.bias_rms or not layer.fan_in or not layer.fan_out:
        return True
    # torch draws biases from U(-1/√fan_in, 1/√fan_in), of standard deviation 1/√(3 fan_in).
    return abs(layer.bias_rms * math.sqrt(3 * layer.fan_in) - 1) < _SCATTER / math.sqrt(2 * layer.fan_out)
