"""What a network is made of, as theory sees it: stages that are put one behind another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from gainstage.errors import InputError, UnknownNameError
from gainstage.numerics import require_non_negative, require_positive, require_within
from gainstage.theory.activations import Activation

NormKind = Literal["batch", "layer", "group", "rms"]
# 1/σ² of fewer normal values has no variance: (B - 3)/(B - 5) of its square's mean to the squared mean.
SMALLEST_STATISTIC = 6


@dataclass(frozen=True)
class Affine:
    """h = W x + b with independent, centred weights and biases: a linear map or a convolution.

    Attributes:
        width: Units, or channels of a convolution.
        weight_var: σ_w² = fan_in·Var W.
        bias_var: σ_b² = Var b.
        fan_ratio: fan_out/fan_in of the map; None for a dense one: width over the width before.
        standardized: Whether each row of W has mean 0 (weight standardization; scaled, weight_var is gain²):
            such a map does not see the mean of its inputs.
    """

    width: int
    weight_var: float
    bias_var: float = 0.0
    fan_ratio: float | None = None
    standardized: bool = False

    def __post_init__(self) -> None:
        require_positive("Affine", "width", self.width, "Give the number of units or channels.")
        require_positive("Affine", "weight_var", self.weight_var, "Give fan_in times the variance of the weights.")
        require_non_negative("Affine", "bias_var", self.bias_var, "Give the variance of the biases, 0 without them.")
        if self.fan_ratio is not None:
            require_positive("Affine", "fan_ratio", self.fan_ratio, "Give fan_out/fan_in, or None.")


@dataclass(frozen=True)
class Activate:
    """φ(h), elementwise.

    Attributes:
        activation: φ.
    """

    activation: Activation


@dataclass(frozen=True)
class Norm:
    """scale·(x - centre)/spread, in training mode.

    Attributes:
        kind: "batch": mean and standard deviation of each unit over the batch; "layer": of each sample over its
            units; "group": over the units of a group; "rms": the root mean square over a sample's units.
        batch_size: Of "batch": values per statistic; None for the limit of large batches.
        groups: Of "group".
        positions: Of "layer", "group" and "rms": values of each unit that a statistic also runs over, height times
            width of a feature map.
        scale: γ, the same for every unit; 0 for a branch that starts as zero.
    """

    kind: NormKind
    batch_size: int | None = None
    groups: int = 1
    positions: int = 1
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(NormKind):
            raise UnknownNameError("Norm", "kind", self.kind, get_args(NormKind))
        require_non_negative("Norm", "scale", self.scale, "Give γ as it is initialized.")
        require_positive("Norm", "groups", self.groups, "Give the number of groups, 1 for all units in one.")
        require_positive("Norm", "positions", self.positions, "Give height times width, 1 for plain units.")
        foreign = (self.positions != 1) if self.kind == "batch" else (self.batch_size is not None)
        if foreign or (self.groups != 1 and self.kind != "group"):
            raise InputError(
                "Norm: batch_size must go with kind 'batch', groups with 'group' and positions with any but 'batch', "
                f"got {self}. Leave it out; the positions of a batch norm count in its batch_size."
            )
        if self.batch_size is not None and self.batch_size < SMALLEST_STATISTIC:
            raise InputError(
                f"Norm: batch_size must be at least {SMALLEST_STATISTIC}, got {self.batch_size!r}. "
                "Use a larger batch: below that the squared gradient has no variance."
            )

    def values(self, width: float) -> float:
        """Values per statistic for so many units; infinite for a large batch."""
        if self.kind == "batch":
            return math.inf if self.batch_size is None else self.batch_size
        return width * self.positions / self.groups


@dataclass(frozen=True)
class Dropout:
    """x·mask/keep, with a mask that is 1 with probability ``keep``, in training mode.

    Attributes:
        keep: Probability that a unit stays: 1 - p of torch's `Dropout(p)`.
    """

    keep: float

    def __post_init__(self) -> None:
        # At 0 nothing is left to divide by.
        require_positive("Dropout", "keep", self.keep, "Give the probability that a unit stays, 1 - p.")
        require_within("Dropout", "keep", self.keep, 0, 1, "Give the probability that a unit stays, 1 - p.")


@dataclass(frozen=True)
class Residual:
    """skip·x + scale·f(x).

    Attributes:
        branch: f, as stages; one of them must be an `Affine` map, so that f(x) is not correlated with x.
        scale: α; 1 for an ordinary network, 1/√depth to keep the variance bounded, 0 for ReZero and SkipInit.
        skip: Factor of x.
    """

    branch: tuple[Stage, ...]
    scale: float = 1.0
    skip: float = 1.0

    def __post_init__(self) -> None:
        for name in ("scale", "skip"):
            value = getattr(self, name)
            if not math.isfinite(value):
                raise InputError(f"Residual: {name} must be finite, got {value!r}. Give it as it is initialized.")
        if not mixes(self.branch):
            raise InputError(
                f"Residual: branch must have an Affine map in it, got {len(self.branch)} stages without one. "
                "Without it the branch is correlated with its input: write both as one activation."
            )


Stage: TypeAlias = Affine | Activate | Norm | Dropout | Residual


def mixes(stages: Sequence[Stage]) -> bool:
    """Returns whether an affine map is among the stages, so that what leaves them is independent of what enters.

    Args:
        stages: In execution order.

    Returns:
        True if one of them is `Affine`; what a `Residual` lets pass by its skip does not count.

    Example:
        >>> mixes([Norm("layer"), Affine(64, 1.0)]), mixes([Norm("layer"), Dropout(0.9)])
        (True, False)
    """
    return any(isinstance(stage, Affine) for stage in stages)
