"""EvoNorm-S0: a norm of samples and an activation in one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gainstage.errors import InputError
from gainstage.norm.layers.inputs import by_channel, parameter, require_channels, widened


class EvoNormS0(nn.Module):
    """EvoNorm-S0: y = γ x sigmoid(v x)/√(σ_g² + ε) + β, σ_g² the variance of a sample's group of channels.

    It takes the place of a norm and the activation behind it.

    Args:
        num_features: Number of channels C.
        groups: Their number, which divides C; 32 as the paper has it.
        eps: ε.
        device: Of the parameters γ, β and v, of shape (C,).
        dtype: Of the parameters.

    Shape:
        (N, C, ...) in and out.

    Raises:
        InputError: if groups does not divide the channels, or a group has a single value.

    Validity:
        As for group norm: small groups are noisy.

    Example:
        >>> EvoNormS0(64)(torch.randn(2, 64, 8, 8)).shape
        torch.Size([2, 64, 8, 8])
        >>> EvoNormS0(48)
        Traceback (most recent call last):
            ...
        gainstage.errors.InputError: EvoNormS0: groups must divide num_features, got 32 for 48. Give a divisor of 48.

    References:
        Liu, Brock, Simonyan and Le 2020, Evolving normalization-activation layers, table 2.
    """

    def __init__(
        self,
        num_features: int,
        groups: int = 32,
        eps: float = 1e-5,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if groups < 1 or num_features % groups:
            raise InputError(
                f"EvoNormS0: groups must divide num_features, got {groups} for {num_features}. "
                f"Give a divisor of {num_features}."
            )
        self.num_features, self.groups, self.eps = num_features, groups, eps
        self.weight = parameter(num_features, 1.0, device, dtype)
        self.bias = parameter(num_features, 0.0, device, dtype)
        self.v = parameter(num_features, 1.0, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        """The normed and gated input."""
        require_channels("EvoNormS0", input, self.num_features)
        if torch.Size(input.shape[1:]).numel() == self.groups:
            raise InputError(
                f"EvoNormS0: input must have two or more values in each of {self.groups} groups, got shape "
                f"{tuple(input.shape)}. Use fewer groups."
            )
        x = widened(input)
        gated = x * torch.sigmoid(x * by_channel(self.v.to(x.dtype), x))
        scale = torch.rsqrt(self._group_var(x) + self.eps) * by_channel(self.weight.to(x.dtype), x)
        return torch.addcmul(by_channel(self.bias.to(x.dtype), x), gated, scale).to(input.dtype)

    def _group_var(self, x: Tensor) -> Tensor:
        """The biased variance of each sample's groups, by channel: (N, C, 1, ...)."""
        rows = x.reshape(x.shape[0], self.groups, x.shape[1] // self.groups, *x.shape[2:])
        dims = tuple(range(2, rows.dim()))
        var = (rows - rows.mean(dims, keepdim=True)).square().mean(dims)
        return var.repeat_interleave(x.shape[1] // self.groups, 1).reshape(*x.shape[:2], *[1] * (x.dim() - 2))

    def extra_repr(self) -> str:
        """Channels, groups and ε."""
        return f"{self.num_features}, groups={self.groups}, eps={self.eps}"
