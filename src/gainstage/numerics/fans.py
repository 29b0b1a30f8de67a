"""Fan-in and fan-out of a weight: how many terms an output sums, and how many outputs an input reaches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gainstage.errors import InputError


@dataclass(frozen=True)
class Fans:
    """Fans of a weight, as floats: transposed and strided convolutions have them on average only.

    Attributes:
        fan_in: Number of weights that one output unit sums over.
        fan_out: Number of outputs that one input unit contributes to.
    """

    fan_in: float
    fan_out: float


def fans(shape: Sequence[int], *, groups: int = 1, transposed: bool = False, stride: int | Sequence[int] = 1) -> Fans:
    """Returns the fans of a linear or convolutional weight.

    With k the product of the kernel's sizes and s that of the strides:

    - linear (out, in): fan_in = in, fan_out = out;
    - convolution (out, in/groups, ...): fan_in = in/groups·k, fan_out = out/groups·k/s;
    - transposed convolution (in, out/groups, ...): fan_in = in/groups·k/s, fan_out = out/groups·k.

    An input of a strided convolution is read at k/s positions on average, and an output of a transposed one
    sums over as many; leave ``stride`` at 1 for the fans by kernel size alone.

    Args:
        shape: Of the weight, as torch lays it out; two dimensions are a linear weight.
        groups: Of the convolution. torch's own fan_out ignores it: 576 for a depthwise 3x3 over 64 channels
            where each input reaches 9 outputs.
        transposed: Whether it is the weight of a transposed convolution.
        stride: One number, or one for each dimension of the kernel.

    Returns:
        The fans, in units (per group).

    Raises:
        InputError: if the shape has fewer than two dimensions or an empty one, the channels are not a
            multiple of groups, or the stride does not fit the kernel.

    Validity:
        Averages over positions, without what padding takes away at the border. A packed projection (q, k, v
        in one weight) has the fans of each of its parts: pass the part's shape.

    Example:
        >>> fans((64, 1, 3, 3), groups=64)
        Fans(fan_in=9.0, fan_out=9.0)
        >>> fans((32, 16, 4, 4), transposed=True, stride=2)
        Fans(fan_in=128.0, fan_out=256.0)

    References:
        Glorot and Bengio 2010; He et al. 2015; pytorch issue 23854 (grouped fan_out).
    """
    if len(shape) < 2 or min(shape) < 1:
        raise InputError(
            f"fans: shape must have two or more dimensions of at least 1, got {tuple(shape)}. "
            "Vectors have no fans; pass a weight of a linear map or a convolution."
        )
    if groups < 1 or shape[0] % groups:
        raise InputError(
            f"fans: groups must be positive and divide shape[0], got {groups} for shape {tuple(shape)}. "
            "Pass the groups of the layer that owns the weight."
        )
    kernel = math.prod(shape[2:])
    steps = _stride_product(stride, len(shape) - 2)
    # Both layouts put the ungrouped channels first: outputs of a convolution, inputs of its transpose.
    first, second = shape[0] / groups * kernel / steps, float(shape[1] * kernel)
    return Fans(fan_in=first, fan_out=second) if transposed else Fans(fan_in=second, fan_out=first)


def _stride_product(stride: int | Sequence[int], dimensions: int) -> int:
    steps = (stride,) * dimensions if isinstance(stride, int) else tuple(stride)
    if any(step < 1 for step in steps) or (len(steps) != dimensions and set(steps) != {1}):
        raise InputError(
            f"fans: stride must be positive, one for each of {dimensions} kernel dimensions, got {stride!r}. "
            "Pass the stride of the layer that owns the weight."
        )
    return math.prod(steps)
