"""From what was measured to a rate: margins that were fitted on a development set, and judged on another.

`benchmarks/learning_rate.py` fits and judges them; the figures are in `docs/learning-rate.md`.
"""

from __future__ import annotations

import math

from gainstage.landscape.learning_rate.updates import Family

# Decades between the edge of short runs and the safe maximum.
SAFETY = 0.45
# log10 of the recommended rate over the edge: a constant for each family, the share of the way to the rate that
# promises progress, and what a decade of noise takes away.
OFFSET: dict[Family, float] = {"plain": 0.09, "momentum": -0.45, "adaptive": -0.39}
TOWARDS_PROMISE, PER_NOISE = 0.44, -0.51
# Noise that was seen on the development set; beyond it nothing is known.
NOISE = (0.08, 5.0)
# What is taken for the edge, in decades, where only one side of it was found.
_BEYOND = 0.2


def edge_of(held: float, lost: float) -> float:
    """The middle of the bracket; a little beyond its end where it is open.

    Example:
        >>> edge_of(0.1, 0.4)
        0.2
    """
    if not held:
        return lost * 10**-_BEYOND
    return math.sqrt(held * lost) if lost < math.inf else held * 10**_BEYOND


def safe_rate(edge: float) -> float:
    """A rate below which few runs break down."""
    return edge * 10**-SAFETY


def recommended_rate(family: Family, edge: float, promise: float, noise: float) -> float:
    """log r = log edge + a (log promise - log edge) - b log noise + c, with c of the optimizer's family.

    Args:
        family: Of the optimizer.
        edge: Of short runs.
        promise: The rate whose first step promises a fiftieth of the loss.
        noise: Of a batch's gradient.
    """
    within = min(max(noise, NOISE[0]), NOISE[1])
    decades = OFFSET[family] + TOWARDS_PROMISE * math.log10(promise / edge) + PER_NOISE * math.log10(within)
    return edge * 10**decades
