"""How finite width makes the scale of signals and gradients scatter, stage by stage.

Each stage maps s, the logarithm of the mean square of the signal relative to infinite width, to
s′ = t s + η, and adds g = a s + γ to the logarithm of the mean square of the gradient on its way down, where
η and γ are noises of order 1/width. Two such maps in a row make one again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from gainstage.numerics import gaussian_expectation
from gainstage.theory.activations import Activation
from gainstage.theory.finite_width import in_range, log_slope, square_scatter
from gainstage.theory.gradients import derivative_log_slope, derivative_scatter, shared_scatter
from gainstage.theory.moments import scaled
from gainstage.theory.signals import Signal
from gainstage.theory.stages import Activate, Affine, Dropout, Norm, Stage


@dataclass(frozen=True)
class Transfer:
    """s → t s + η forwards, and a s + γ on the gradient backwards; the identity by default.

    Attributes:
        through: t.
        onto_gradient: a.
        variance, drift: Of η.
        grad_variance, grad_drift: Of γ.
        covariance: Of η and γ.
    """

    through: float = 1.0
    onto_gradient: float = 0.0
    variance: float = 0.0
    drift: float = 0.0
    grad_variance: float = 0.0
    grad_drift: float = 0.0
    covariance: float = 0.0

    def then(self, above: Transfer) -> Transfer:
        """This stage and the ones above it as one."""
        felt = above.onto_gradient
        return Transfer(
            through=above.through * self.through,
            onto_gradient=self.onto_gradient + felt * self.through,
            variance=above.through**2 * self.variance + above.variance,
            drift=above.through * self.drift + above.drift,
            grad_variance=(
                self.grad_variance + above.grad_variance + felt**2 * self.variance + 2 * felt * self.covariance
            ),
            grad_drift=self.grad_drift + above.grad_drift + felt * self.drift,
            covariance=above.through * (self.covariance + felt * self.variance) + above.covariance,
        )


@dataclass(frozen=True)
class Scatter:
    """Of the logarithm of a mean square.

    Attributes:
        drift: Its mean, relative to infinite width.
        variance: Its variance.
        lean: Of a residual stream: its covariance with what a branch draws from the units of the stream, for a
            draw of variance 1. The next branch draws nearly the same again.
    """

    drift: float = 0.0
    variance: float = 0.0
    lean: float = 0.0

    def after(self, transfer: Transfer) -> Scatter:
        """The scatter of what leaves a stage."""
        return Scatter(
            transfer.through * self.drift + transfer.drift,
            transfer.through**2 * self.variance + transfer.variance,
        )

    def drawn(self, block: Transfer, draw: float, share: float) -> Scatter:
        """The scatter of what leaves a residual block, whose branch draws anew what others drew before it."""
        again = 2 * block.through * draw * self.lean
        plain = self.after(block)
        # What units of the sum keep of those of the skip: the correlation of both.
        lean = math.sqrt(max(1 - share, 0.0)) * (block.through * self.lean + draw)
        return Scatter(plain.drift - again / 2, plain.variance + again, lean)


def transfer_of(stage: Stage, before: Signal, after: Signal, *, grad_kurtosis: float = 3.0) -> Transfer:
    """Returns how a stage carries the scatter of its input, and what it adds; of a residual block, see `joined`.

    Args:
        stage: `Affine`, `Activate`, `Norm` or `Dropout`.
        before: The signal that enters it.
        after: The signal that leaves it.
        grad_kurtosis: E g⁴/(E g²)² of the gradient with respect to what leaves it; it matters to γ alone.

    Returns:
        The transfer, to first order in 1/width:

        - affine to n from m units: t = 1 - σ_b²/q, Var η = 2/n, Var γ = 2/m;
        - activation: t and a are the logarithmic slopes of E φ² and E φ′², and with η and γ only what they
          leave unexplained of the means over n units;
        - layer, group and rms norm: t = 0 and a = -1, as each sample's scale is divided out;
        - batch norm: t = (B - 1)²/(B (B + 1)): what one sample has more than the others stays, but for its own
          part in the statistics;
        - dropout: Var η = (1/keep - 1) kurtosis/n.

    Example:
        >>> signal = Signal(100, gaussian=True)
        >>> transfer_of(Dropout(0.5), signal, signal).variance
        0.03

    References:
        Hanin 2018, Which neural net architectures give rise to exploding and vanishing gradients?
    """
    n = before.width
    if isinstance(stage, Affine):
        share = 1 - stage.bias_var / after.square if 0 < after.square < math.inf else 1.0
        return Transfer(share, 0.0, 2 / after.width, -1 / after.width, 2 / n, -1 / n)
    if isinstance(stage, Activate):
        return _of_activation(stage, before, grad_kurtosis)
    if isinstance(stage, Norm):
        return _of_batch_norm(stage, before, after) if stage.kind == "batch" else _of_sample_norm(stage, before)
    if isinstance(stage, Dropout):
        lost = (1 / stage.keep - 1) / n
        scatter = lost * before.kurtosis
        grad_scatter = lost * grad_kurtosis
        return Transfer(1.0, 0.0, scatter, -scatter / 2, grad_scatter, -grad_scatter / 2, lost)
    raise TypeError(f"transfer_of: stage must not be a {type(stage).__name__}")


def joined(branch: Transfer, share: float, grad_share: float, width: float, entering: Scatter) -> Transfer:
    """Returns the transfer of a residual block.

    Args:
        branch: Transfer of all of its branch.
        share: Of the branch in the mean square of what leaves the block.
        grad_share: Of the branch in the mean square of the gradient at what enters the block.
        width: Units of skip and branch.
        entering: Scatter of what enters.

    Returns:
        The transfer. A sum of n independent products scatters by 4 share (1 - share)/n.

    Example:
        >>> joined(Transfer(), 0.5, 0.5, 100, Scatter()).variance
        0.01
    """
    through = 1 - share + share * branch.through
    variance = share**2 * branch.variance + 4 * share * (1 - share) / width
    grad_variance = grad_share**2 * branch.grad_variance + 4 * grad_share * (1 - grad_share) / width
    total = through**2 * entering.variance + variance
    parts = (1 - share) * entering.variance + share * (branch.through**2 * entering.variance + branch.variance)
    return Transfer(
        through,
        grad_share * branch.onto_gradient,
        variance,
        # The logarithm of a sum drifts less than those of its terms, as far as they scatter apart.
        share * branch.drift + (parts - total) / 2,
        grad_variance,
        grad_share * branch.grad_drift + (grad_share * branch.grad_variance - grad_variance) / 2,
        share * grad_share * branch.covariance,
    )


def _of_activation(stage: Activate, before: Signal, grad_kurtosis: float) -> Transfer:
    act, q, n = stage.activation, before.square, before.width
    slope, felt = log_slope(act, in_range(q)), derivative_log_slope(act, q)
    own, steep = square_scatter(act, q), grad_kurtosis * derivative_scatter(act, q)
    # What the scale of the units explains, by 2/n, is in s already; so is what their mean does, where it is 0.
    lean, steep_lean = _leanings(act, q) if before.centred else (0.0, 0.0)
    return Transfer(
        slope,
        felt,
        max(own - 2 * slope**2 - lean**2, 0.0) / n,
        -(own - 2 * slope - lean**2) / (2 * n),
        max(steep - 2 * felt**2 - steep_lean**2, 0.0) / n,
        (felt - (steep - steep_lean**2) / 2) / n,
        (shared_scatter(act, q) - 2 * slope * felt - lean * steep_lean) / n,
    )


def _leanings(act: Activation, q: float) -> tuple[float, float]:
    """E z φ²/E φ² and E z φ′²/E φ′²: how the means of φ² and φ′² follow that of the units."""
    at = in_range(q)
    found = list[float]()
    for function in (act.function, act.derivative):
        values, kinks = scaled(act, function, at)
        square = gaussian_expectation(lambda z, values=values: values(z) ** 2, kinks=kinks)
        product = gaussian_expectation(lambda z, values=values: z * values(z) ** 2, kinks=kinks)
        found.append(product / square if square > 0 else 0.0)
    return found[0], found[1]


def _of_sample_norm(stage: Norm, before: Signal) -> Transfer:
    if stage.kind == "rms" or not before.gaussian:
        return Transfer(through=0.0, onto_gradient=-1.0)
    n = before.width
    # 1/σ² of each group scatters by 2/(m - 5), and its average over the groups less; 2/n of it is a·s.
    groups = 2 / ((stage.values(n) - 5) * stage.groups)
    return Transfer(0.0, -1.0, grad_variance=max(groups - 2 / n, 0.0), grad_drift=-groups / 2 - 1 / n)


def _of_batch_norm(stage: Norm, before: Signal, after: Signal) -> Transfer:
    n, count = before.width, stage.values(before.width)
    # (B - 1)/(B + 1): normalizing B - 1 free values to a fixed sum of squares damps what one has more.
    through = 1.0 if count == math.inf else (1 - 2 / (count + 1)) * (1 - 1 / count)
    scatter = max(after.kurtosis - 1 - through**2 * (before.kurtosis - 1), 0.0) / n
    drift = -((after.kurtosis - 1) - through * (before.kurtosis - 1)) / (2 * n)
    grad_scatter = 6 / ((count - 5) * n)
    return Transfer(through, 0.0, scatter, drift, grad_scatter, -grad_scatter / 2)
