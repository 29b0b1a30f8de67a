"""Filter response normalization, and the thresholded linear unit that goes with it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gainstage.norm.layers.inputs import by_channel, parameter, require_channels, widened
from gainstage.numerics import require_positive

# What a learnt ε starts from, and its least value.
LEARNT_EPS = 1e-4


class FilterResponseNorm(nn.Module):
    """Filter response normalization: y = γ x/√(ν² + ε) + β, ν² the mean of x² over one sample's positions.

    Nothing is subtracted, and neither other channels nor other samples enter. A `ThresholdedLinearUnit` follows in
    place of an activation.

    Args:
        num_features: Number of channels C.
        eps: ε, or its least value where it is learnt.
        learnable_eps: Whether ε = eps + |ε_l| with a learnt ε_l by channel, which starts from 1e-4. What has one
            position, inputs (N, C) among it, needs it.
        device: Of the parameters.
        dtype: Of the parameters.

    Shape:
        (N, C, ...) in and out.

    Raises:
        InputError: for an ε that is not positive, or another number of channels.

    Validity:
        Over a single position x/√(x² + ε) is the sign of x, hardly with a gradient, unless ε is learnt.

    Example:
        >>> y = FilterResponseNorm(3)(7 * torch.randn(2, 3, 8, 8))
        >>> [round(v, 3) for v in y.square().mean((0, 2, 3)).tolist()]
        [1.0, 1.0, 1.0]

    References:
        Singh and Krishnan 2020, Filter response normalization layer.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-6,
        *,
        learnable_eps: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = require_positive("FilterResponseNorm", "eps", eps, "Give a small number such as 1e-6.")
        self.weight = parameter(num_features, 1.0, device, dtype)
        self.bias = parameter(num_features, 0.0, device, dtype)
        learnt = parameter(num_features, LEARNT_EPS, device, dtype) if learnable_eps else None
        self.register_parameter("eps_l", learnt)
        self.eps_l: nn.Parameter | None

    def forward(self, input: Tensor) -> Tensor:
        """The normalized input."""
        require_channels("FilterResponseNorm", input, self.num_features)
        x = widened(input)
        square = x.square()
        # mean(()) would be over everything.
        mean_square = square.mean(tuple(range(2, x.dim())), keepdim=True) if x.dim() > 2 else square
        eps = self.eps if self.eps_l is None else self.eps + by_channel(self.eps_l.to(x.dtype).abs(), x)
        scale = torch.rsqrt(mean_square + eps) * by_channel(self.weight.to(x.dtype), x)
        return torch.addcmul(by_channel(self.bias.to(x.dtype), x), x, scale).to(input.dtype)

    def extra_repr(self) -> str:
        """Channels and ε."""
        return f"{self.num_features}, eps={self.eps}, learnable_eps={self.eps_l is not None}"


class ThresholdedLinearUnit(nn.Module):
    """An activation z = max(y, τ) with a learnt threshold by channel, which starts from 0: ReLU.

    Args:
        num_features: Number of channels C.
        device: Of τ.
        dtype: Of τ.

    Shape:
        (N, C, ...) in and out.

    Raises:
        InputError: for another number of channels.

    Example:
        >>> unit = ThresholdedLinearUnit(2)
        >>> unit(torch.tensor([[-1.0, 3.0]])).tolist()
        [[0.0, 3.0]]

    References:
        Singh and Krishnan 2020, Filter response normalization layer.
    """

    def __init__(
        self, num_features: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.tau = parameter(num_features, 0.0, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        """The thresholded input."""
        require_channels("ThresholdedLinearUnit", input, self.num_features)
        # τ as it is: rounded to the input's type it would fall on the other side of some of the input.
        # clamp rather than maximum, whose backward pass takes twice the time.
        return input.clamp(min=by_channel(self.tau, input)).to(input.dtype)

    def extra_repr(self) -> str:
        """The number of channels."""
        return str(self.num_features)
