"""Forwards through stages at infinite width: mean square, mean, and what two inputs share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gainstage.errors import InputError
from gainstage.numerics import require_non_negative, require_positive
from gainstage.theory.finite_width import in_range, square_scatter
from gainstage.theory.meanfield import c_map
from gainstage.theory.moments import mean, second_moment
from gainstage.theory.stages import SMALLEST_STATISTIC, Activate, Affine, Dropout, Norm, Residual, Stage


@dataclass(frozen=True)
class Signal:
    """The units of one place in a network, for one input and for a pair of different ones.

    Attributes:
        width: Number of units.
        square: E x², over units.
        mean: E x, over units.
        cross: E x y of the same unit for two different inputs; `correlation` times square where the mean is 0.
        gaussian: Whether the units are normal with mean 0, as those behind an affine map: what an activation
            needs.
        kurtosis: E x⁴/(E x²)².
        centred: Whether the mean of each sample's units is 0 at finite width too, as behind a layer norm.
    """

    width: float
    square: float = 1.0
    mean: float = 0.0
    cross: float = 0.0
    gaussian: bool = False
    kurtosis: float = 3.0
    centred: bool = False

    def __post_init__(self) -> None:
        require_positive("Signal", "width", self.width, "Give the number of units or features.")
        if math.isnan(self.square) or self.square < 0:
            require_non_negative("Signal", "square", self.square, "Give the mean square of the inputs.")
        # A hair of rounding is let pass.
        if abs(self.cross) > self.square * (1 + 1e-9) or self.mean**2 > self.square * (1 + 1e-9):
            raise InputError(
                f"Signal: cross and mean² must not exceed square, got {self.cross!r}, {self.mean!r}² and "
                f"{self.square!r}. Give moments of the same inputs."
            )

    @property
    def correlation(self) -> float:
        """E x y/E x², within [-1, 1]; 0 where there is no signal."""
        if not 0 < self.square < math.inf:
            return 0.0
        return min(1.0, max(-1.0, self.cross / self.square))


def passed(stage: Stage, signal: Signal) -> Signal:
    """Returns what leaves a stage at infinite width.

    Args:
        stage: One of `Affine`, `Activate`, `Norm`, `Dropout` and `Residual`.
        signal: What enters it.

    Returns:
        - affine: E h² = σ_w² E x² + σ_b², and likewise E h₁h₂; with standardized weights E x² and E x y less
          the squared mean;
        - activation: E φ(√q z)², and E φφ by the c-map;
        - batch norm: 1, and -1/(B - 1) of it in common (0 for large batches): it takes away what all share;
        - layer and group norm: 1, with (E x y - m²)/(E x² - m²) in common; rms norm: with E x y/E x²;
        - dropout: E x²/keep, while mean and E x y stay, as masks differ;
        - residual: β² E x² + α² E f² + 2 α β m m_f.

    Raises:
        InputError: if the stage cannot take the signal: an activation of what is not normal with mean 0, a
            norm of a constant or of too few values, a branch of another width.

    Validity:
        Different inputs that are all equally similar.

    Example:
        >>> drop = passed(Dropout(0.5), Signal(64, square=1.0, cross=0.3))
        >>> drop.square, drop.cross
        (2.0, 0.3)

    References:
        Poole et al. 2016; Yang and Schoenholz 2017, Mean field residual networks; Yang et al. 2019, A mean
        field theory of batch normalization; Schoenholz et al. 2017 (dropout).
    """
    if isinstance(stage, Affine):
        taken = signal.mean**2 if stage.standardized else 0.0
        square = stage.weight_var * (signal.square - taken) + stage.bias_var
        cross = stage.weight_var * (signal.cross - taken) + stage.bias_var
        return Signal(stage.width, max(square, 0.0), 0.0, _within(cross, square), gaussian=True)
    if isinstance(stage, Activate):
        return _activated(stage, signal)
    if isinstance(stage, Norm):
        return _normalized(stage, signal)
    if isinstance(stage, Dropout):
        kept = stage.keep == 1 and signal.gaussian
        return replace(signal, square=signal.square / stage.keep, gaussian=kept, kurtosis=signal.kurtosis / stage.keep)
    return added(stage, signal, passed_all(stage.branch, signal))


def passed_all(stages: Sequence[Stage], signal: Signal) -> Signal:
    """Returns what leaves the last of some stages.

    Args:
        stages: In execution order.
        signal: What enters the first.

    Returns:
        The signal; the one that enters, if there are no stages.

    Raises:
        InputError: as `passed`.

    Example:
        >>> passed_all([Affine(64, 2.0), Norm("rms")], Signal(32, square=7.0)).square
        1.0
    """
    for stage in stages:
        signal = passed(stage, signal)
    return signal


def added(stage: Residual, signal: Signal, branch: Signal) -> Signal:
    """Returns the sum of skip and branch.

    Args:
        stage: The residual block.
        signal: What enters it.
        branch: What leaves its branch.

    Returns:
        What leaves the block.

    Raises:
        InputError: if the widths differ.

    Example:
        >>> block = Residual((Affine(64, 1.0),), scale=0.5)
        >>> added(block, Signal(64, square=2.0), Signal(64, square=4.0)).square
        3.0
    """
    if branch.width != signal.width:
        raise InputError(
            f"Residual: branch must end with the width that it starts from, got {branch.width:g} and "
            f"{signal.width:g}. Give its last Affine that width."
        )
    skip, scale = stage.skip, stage.scale
    means = 2 * scale * skip * signal.mean * branch.mean
    square = skip**2 * signal.square + scale**2 * branch.square + means
    share = scale**2 * branch.square / square if 0 < square < math.inf else 0.0
    return Signal(
        signal.width,
        square,
        skip * signal.mean + scale * branch.mean,
        _within(skip**2 * signal.cross + scale**2 * branch.cross + means, square),
        gaussian=signal.gaussian and branch.gaussian,
        # Without third moments, which only matter to the band of a dropout on what is not normal.
        kurtosis=(1 - share) ** 2 * signal.kurtosis + share**2 * branch.kurtosis + 6 * share * (1 - share),
    )


def spread(stage: Norm, signal: Signal) -> float:
    """Returns the variance that a norm divides by, at infinite width.

    Args:
        stage: The norm.
        signal: What enters it.

    Returns:
        E x² - E x y for batch norm, which sees what differs between inputs; E x² - m² over a sample's units
        for layer and group norm; E x² for rms norm.

    Raises:
        InputError: if there is nothing to divide by, or a statistic has fewer than 6 values.

    Example:
        >>> spread(Norm("batch"), Signal(64, square=2.0, cross=0.5))
        1.5
    """
    taken = {"batch": signal.cross, "rms": 0.0}.get(stage.kind, signal.mean**2)
    found = signal.square - taken
    if not 1e-12 * signal.square < found < math.inf:
        raise InputError(
            f"Norm: signal of a {stage.kind} norm must vary, got variance {found:.3g} of a mean square of "
            f"{signal.square:.3g}. Give inputs that differ, or fewer layers before it."
        )
    if stage.values(signal.width) < SMALLEST_STATISTIC:
        raise InputError(
            f"Norm: groups must leave at least {SMALLEST_STATISTIC} values in each, got {stage.groups} of "
            f"{signal.width:g} units. Use fewer groups, or give the positions that they run over."
        )
    return found


def _activated(stage: Activate, signal: Signal) -> Signal:
    act, q = stage.activation, signal.square
    if not signal.gaussian:
        raise InputError(
            f"Activate: signal of {act} must be normal with mean 0, as behind an Affine map, got one that is not. "
            "Put dropout behind the activation, and an Affine map or a norm of one before it."
        )
    # Beyond, φ² itself overflows: what is left of φ are its plateaus.
    square = second_moment(act, q) if q < 1e290 else max(act.lower**2, act.upper**2)
    similar = c_map(signal.correlation, in_range(q), act, 1.0)
    first = mean(act, q) if q < 1e290 else 0.0
    return Signal(signal.width, square, first, _within(similar * square, square), kurtosis=square_scatter(act, q) + 1)


def _normalized(stage: Norm, signal: Signal) -> Signal:
    variance, scale = spread(stage, signal), stage.scale**2
    if stage.kind == "batch":
        size = stage.batch_size
        cross = 0.0 if size is None else -scale / (size - 1)
        kurtosis = signal.kurtosis if size is None else signal.kurtosis * (size - 1) / (size + 1)
        return replace(signal, square=scale, mean=0.0, cross=cross, kurtosis=kurtosis, centred=False)
    if stage.kind == "rms":
        mean_ = signal.mean * stage.scale / math.sqrt(variance)
        return replace(signal, square=scale, mean=mean_, cross=_within(scale * signal.cross / variance, scale))
    shared = (signal.cross - signal.mean**2) / variance
    return replace(signal, square=scale, mean=0.0, cross=_within(scale * shared, scale), centred=True)


def _within(cross: float, square: float) -> float:
    """Rounding must not carry a correlation out of its range; nor is inf - inf one."""
    return 0.0 if math.isnan(cross) else max(-square, min(square, cross))
