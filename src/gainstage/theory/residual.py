"""Residual blocks h + α f(h): how the branch scale α and the depth set the growth of signal and gradient."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from gainstage.errors import InputError
from gainstage.numerics import FloatArray, require_non_negative, require_positive

_GAIN = "Give E f²/E h² of one branch: 1 if it preserves the variance."


def residual_second_moments(
    depth: int, scale: npt.ArrayLike, *, branch_gain: float = 1.0, start: float = 1.0, normalized: bool = False
) -> FloatArray:
    """Returns E h² behind each of ``depth`` blocks h ← h + α f(h).

    - f of a plain branch is as large as its input, E f² = gain·E h²: E h² grows as (1 + α² gain)^l;
    - of a branch that starts with a norm, E f² = gain: E h² grows as start + α² gain l.

    Args:
        depth: Number of blocks, L.
        scale: α, of any shape; one for each network.
        branch_gain: E f²/E h² of one branch, or E f² of a normalized one.
        start: E h² of what enters the first block.
        normalized: Whether each branch starts with a norm (pre-norm).

    Returns:
        Shape (depth + 1, *shape of scale); entry 0 is ``start``.

    Raises:
        InputError: if depth is negative, or a figure is not finite.

    Validity:
        Branches that end in an independent, centred map, and (without a norm) whose E f² is proportional to
        E h²: positively homogeneous activations without biases.

    Example:
        >>> residual_second_moments(2, [0.5, 1.0]).tolist()
        [[1.0, 1.0], [1.25, 2.0], [1.5625, 4.0]]

    References:
        Yang and Schoenholz 2017, Mean field residual networks; De and Smith 2020, Batch normalization biases
        residual blocks towards the identity function in deep networks.
    """
    operation = "residual_second_moments"
    gain = require_non_negative(operation, "branch_gain", branch_gain, _GAIN)
    first = require_non_negative(operation, "start", start, "Give the mean square of what enters.")
    square = _scale(operation, scale) ** 2 * gain
    blocks = _blocks(operation, depth).reshape(-1, *[1] * square.ndim)
    with np.errstate(over="ignore"):
        return first + blocks * square if normalized else first * (1 + square) ** blocks


def residual_gradient_growth(depth: int, scale: npt.ArrayLike, *, branch_chi: float = 1.0) -> FloatArray:
    """Returns the growth of the squared gradient from behind the last block to in front of block L - l.

    Skip and branch pass independent parts on: one block multiplies by 1 + α² χ.

    Args:
        depth: Number of blocks, L.
        scale: α, of any shape.
        branch_chi: χ, the growth of the squared gradient through one branch: the product of χ₁ of its layers.

    Returns:
        (1 + α² χ)^l, shape (depth + 1, *shape of scale), from the last block down.

    Raises:
        InputError: if depth is negative, or a figure is not finite.

    Validity:
        χ the same in all blocks: not so behind a norm, where χ falls as 1/E h² and the growth is linear.

    Example:
        >>> residual_gradient_growth(2, 1.0).tolist()
        [1.0, 2.0, 4.0]

    References:
        Yang and Schoenholz 2017, Mean field residual networks: on the edge of chaos.
    """
    operation = "residual_gradient_growth"
    chi = require_non_negative(operation, "branch_chi", branch_chi, "Give the growth through one branch.")
    square = _scale(operation, scale) ** 2 * chi
    with np.errstate(over="ignore"):
        return (1 + square) ** _blocks(operation, depth).reshape(-1, *[1] * square.ndim)


def critical_residual_scale(depth: npt.ArrayLike, *, branch_gain: float = 1.0, growth: float = math.e) -> FloatArray:
    """Returns the branch scale α at which L blocks make the mean square grow by a given factor.

    α = √((growth^(1/L) - 1)/gain), which is √(ln growth/(gain L)) for many blocks: 1/√L for a factor e. A
    scale that falls more slowly with L lets signal and gradient explode exponentially in L.

    Args:
        depth: Number of blocks, L, of any shape.
        branch_gain: E f²/E h² of one branch (or χ of one, for the gradient).
        growth: E h_L²/E h_0² that is tolerated, above 1.

    Returns:
        α, of the shape of depth.

    Raises:
        InputError: if a depth is below 1, the gain not positive, or growth not above 1.

    Validity:
        As for `residual_second_moments` without a norm.

    Example:
        >>> alphas = critical_residual_scale([1, 100, 10_000])
        >>> [round(float(alpha), 4) for alpha in alphas]
        [1.3108, 0.1003, 0.01]

    References:
        De and Smith 2020; Zhang et al. 2019, Fixup initialization; Hayou et al. 2021, Stable ResNet.
    """
    operation = "critical_residual_scale"
    gain = require_positive(operation, "branch_gain", branch_gain, _GAIN)
    if not (math.isfinite(growth) and growth > 1):
        raise InputError(f"{operation}: growth must be above 1 and finite, got {growth!r}. Leave it at e.")
    blocks = np.asarray(depth, dtype=np.float64)
    if not np.all(np.isfinite(blocks) & (blocks >= 1)):
        raise InputError(f"{operation}: depth must be at least 1, got {depth!r}. Give numbers of blocks.")
    # expm1 keeps the digits of growth^(1/L) - 1 where L is large.
    return np.sqrt(np.expm1(math.log(growth) / blocks) / gain)


def _scale(operation: str, scale: npt.ArrayLike) -> FloatArray:
    found = np.asarray(scale, dtype=np.float64)
    if not np.all(np.isfinite(found)):
        raise InputError(f"{operation}: scale must be finite, got {scale!r}. Give α as it is initialized.")
    return found


def _blocks(operation: str, depth: int) -> FloatArray:
    if depth < 0:
        raise InputError(f"{operation}: depth must be at least 0, got {depth!r}. Give the number of blocks.")
    return np.arange(depth + 1, dtype=np.float64)
