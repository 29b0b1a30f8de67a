"""The level that each layer's output is to have: one; less at the end of a residual branch, before saturation, and
before a squared error."""

from __future__ import annotations

from gainstage import theory
from gainstage.numerics import bracketed_root
from gainstage.schemes.streams import MAPS, streams
from gainstage.theory import Activation
from gainstage.trace.records import Trace

# Below it a level is so small that the bias of the next step drowns it.
_LEAST = 0.05
# rms of the outputs that a squared error reads: benchmarks/readout.py, chosen on its development networks.
SQUARED_ERROR_LEVEL = 0.25
# How a squared error looks, torch's and one written out.
_SQUARED_ERRORS = ({"mse_loss"}, {"sub", "pow"}, {"sub", "square"})


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
    for stream in streams(trace):
        for block in stream.blocks:
            if len(stream.blocks) > 1 and block.branch and trace.layers[block.branch[-1]].kind in MAPS:
                scales[block.branch[-1]] = len(stream.blocks) ** -0.5
    return scales


def read_out_level(trace: Trace) -> tuple[float, str]:
    """The rms that the outputs are to have, and the name of the loss.

    Before a squared error of standardised targets 0.25: whatever the outputs add to the error has to be unlearned.
    Cross-entropy, over classes or binary, trains best from 1, where its gradients already tell samples apart;
    of other losses nothing is known, and 1 it is.

    Args:
        trace: Of one pass of the model, with its loss.

    Validity:
        Measured on small networks and digits: docs/initialization.md.
    """
    loss = trace.loss_record
    if loss is None:
        return 1.0, ""
    squared = any(parts <= set(loss.ops) for parts in _SQUARED_ERRORS)
    return (SQUARED_ERROR_LEVEL if squared else 1.0), loss.name


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
