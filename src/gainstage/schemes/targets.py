"""The level that each layer's output is to have: one; less at the end of a residual branch or before saturation."""

from __future__ import annotations

from gainstage import theory
from gainstage.numerics import bracketed_root
from gainstage.theory import Activation
from gainstage.trace.graph import Residual
from gainstage.trace.records import Trace

MAPS = ("linear", "conv")
# Below it a level is so small that the bias of the next step drowns it.
_LEAST = 0.05


def branch_scales(trace: Trace) -> dict[int, float]:
    """For each map that ends a residual branch, the rms that its output is to have: 1/√L in a stream of L sums.

    Then the mean square of the stream grows by at most 1 from its beginning to its end, however deep. A branch that
    ends in a norm, and a sum that a norm levels at once (post-norm), are left at 1: they do not add up.

    Args:
        trace: Of one pass of the model.

    Returns:
        By position in ``trace.layers``.

    References:
        Zhang et al. 2019, Fixup; Radford et al. 2019, which scales residual projections by 1/√(2·layers).
    """
    scales: dict[int, float] = {}
    for chain in chains(trace):
        for block in chain:
            if len(chain) > 1 and block.branch and trace.layers[block.branch[-1]].kind in MAPS:
                scales[block.branch[-1]] = len(chain) ** -0.5
    return scales


def chains(trace: Trace) -> list[list[Residual]]:
    """The residual streams of a network: each a list of blocks, of which one begins where the one before ends."""
    found: list[list[Residual]] = []
    ends: dict[int, list[Residual]] = {}
    for block in trace.residuals:
        chain = ends.pop(_stream(trace, block.fork), None)
        if chain is None:
            chain = []
            found.append(chain)
        chain.append(block)
        ends[block.sum] = chain
    return found


def _stream(trace: Trace, fork: int | None) -> int:
    """The sum that a block's input comes from: itself, or through one activation."""
    if fork is None:
        return -1
    layer = trace.layers[fork]
    through = layer.kind == "activation" and len(layer.inputs) == 1 and trace.layers[layer.inputs[0]].op == "add"
    return layer.inputs[0] if through else fork


def saturating_level(act: Activation, depth: int) -> float:
    """The rms of preactivations, at most 1, at which squared gradients grow at most twofold through ``depth`` layers.

    Where layers keep the level q, σ_w² = q/E φ(√q z)², and squared gradients grow by
    χ₁ = σ_w² E φ′(√q z)² a layer. For tanh that is 1.18 at q = 1, and nears 1 as q falls.

    Args:
        act: φ; of a rectifier it is 1 whatever the level.
        depth: Number of layers before such an activation, at least 1.

    Returns:
        The rms √q, no less than 0.05.

    Validity:
        As for `gainstage.theory.chi1`.

    Example:
        >>> from gainstage.theory import activation
        >>> saturating_level(activation("tanh"), 2), round(saturating_level(activation("tanh"), 30), 2)
        (1.0, 0.44)

    References:
        Schoenholz et al. 2017, Deep information propagation.
    """
    bound = 2 ** (1 / depth)

    def excess(level: float) -> float:
        q = level**2
        return q * theory.derivative_second_moment(act, q) / theory.second_moment(act, q) - bound

    if excess(1.0) <= 0:
        return 1.0
    return _LEAST if excess(_LEAST) >= 0 else bracketed_root(excess, _LEAST, 1.0, tolerance=1e-6)
