"""Learnt scalars and scales that stand where a norm stood: SkipInit, Fixup, layer scale."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gainstage.norm.layers.inputs import parameter, require_channels


class SkipInit(nn.Module):
    """A learnt scalar at the end of a residual branch: y = α x.

    With α = 0 a residual network starts as the identity, whatever its depth; any α ≤ 1/√depth keeps its signal.

    Args:
        alpha: What α starts from.
        device: Of α, of shape (1,).
        dtype: Of α.

    Shape:
        Any in, the same out, of the input's type.

    Validity:
        Put it behind the branch's last layer, before the sum.

    Example:
        >>> SkipInit(0.5)(torch.ones(2, 3)).sum().tolist()
        3.0

    References:
        De and Smith 2020, Batch normalization biases residual blocks towards the identity function. Bachlechner et
        al. 2021, ReZero is all you need.
    """

    def __init__(
        self, alpha: float = 0.0, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.alpha = parameter(1, alpha, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        """The scaled input."""
        return (input * self.alpha).to(input.dtype)


class FixupMultiplier(nn.Module):
    """The learnt scalar of a Fixup branch, before its last bias: y = s x, with s = 1 to start from.

    Args:
        scale: What s starts from.
        device: Of s, of shape (1,).
        dtype: Of s.

    Shape:
        Any in, the same out, of the input's type.

    Validity:
        It is one part of Fixup; the initialization is another: ``gs.initialize(model, batch, scheme="fixup")``.

    Example:
        >>> FixupMultiplier()(torch.ones(2, 3)).sum().tolist()
        6.0

    References:
        Zhang, Dauphin and Ma 2019, Fixup initialization, section 3.
    """

    def __init__(
        self, scale: float = 1.0, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.scale = parameter(1, scale, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        """The scaled input."""
        return (input * self.scale).to(input.dtype)


class FixupBias(nn.Module):
    """A learnt scalar before each convolution, linear layer and activation of a Fixup branch: y = x + b.

    Args:
        bias: What b starts from, 0.
        device: Of b, of shape (1,).
        dtype: Of b.

    Shape:
        Any in, the same out, of the input's type.

    Validity:
        As `FixupMultiplier`.

    Example:
        >>> FixupBias()(torch.ones(2, 3)).sum().tolist()
        6.0

    References:
        Zhang, Dauphin and Ma 2019, Fixup initialization, section 3.
    """

    def __init__(
        self, bias: float = 0.0, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.bias = parameter(1, bias, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        """The shifted input."""
        return (input + self.bias).to(input.dtype)


class LayerScale(nn.Module):
    """A learnt scale of each channel at the end of a residual branch: y = λ x.

    Args:
        num_features: Number of channels C.
        init_value: What λ starts from: 0.1 to a depth of 18, 1e-5 to 24 and 1e-6 beyond, in the paper.
        dim: Where the channels are; -1 for transformers' (N, T, C).
        device: Of λ, of shape (C,).
        dtype: Of λ.

    Shape:
        (N, C, ...) in and out, or with the channels in ``dim``; of the input's type.

    Raises:
        InputError: for another number of channels.

    Validity:
        Put it behind the branch's last layer, before the sum.

    Example:
        >>> LayerScale(4, 0.5, dim=-1)(torch.ones(2, 3, 4)).sum().tolist()
        12.0

    References:
        Touvron et al. 2021, Going deeper with image transformers, section 2.
    """

    def __init__(
        self,
        num_features: int,
        init_value: float = 1e-5,
        dim: int = 1,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.num_features, self.dim = num_features, dim
        self.weight = parameter(num_features, init_value, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        """The scaled input."""
        require_channels("LayerScale", input, self.num_features, self.dim)
        behind = (input.dim() - 1 - self.dim) if self.dim >= 0 else -1 - self.dim
        return (input * self.weight.view(-1, *[1] * behind)).to(input.dtype)

    def extra_repr(self) -> str:
        """Channels and where they are."""
        return f"{self.num_features}, dim={self.dim}"
