"""Batch norm whose statistics stay as they are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from gainstage.errors import InputError
from gainstage.norm.layers.batch import BatchNorm


class FrozenBatchNorm(BatchNorm):
    """Batch norm with frozen statistics: y = γ (x - μ)/√(σ² + ε) + β with the running μ and σ², in either mode.

    γ and β are learnt, unless they are frozen by ``requires_grad_(False)``; the buffers keep torch's names, so that
    a trained batch norm's state_dict loads.

    Args:
        num_features: Number of channels C.
        eps: ε.
        affine: Whether there are γ and β.
        device: Of parameters and buffers.
        dtype: Of parameters and buffers.

    Shape:
        (N, C, ...) in and out; single values and empty batches too.

    Raises:
        InputError: for another number of channels.

    Validity:
        Built by itself its statistics are 0 and 1, and it norms nothing: see `of`.

    Example:
        >>> norm = FrozenBatchNorm.of(torch.nn.BatchNorm2d(3))
        >>> before = norm.running_mean.clone()
        >>> y = norm(torch.randn(1, 3, 4, 4) + 5)
        >>> torch.equal(norm.running_mean, before), norm.training
        (True, True)

    References:
        He et al. 2016, Deep residual learning, appendix A: batch norm kept fixed while detectors are fine-tuned.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        *,
        affine: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(num_features, eps, 0.0, affine=affine, device=device, dtype=dtype)

    @classmethod
    def of(cls, norm: _BatchNorm) -> FrozenBatchNorm:
        """A frozen copy of a batch norm.

        Args:
            norm: One with running statistics.

        Returns:
            A new module with copies of its parameters and buffers, their types, places and ``requires_grad``, and
            its mode.

        Raises:
            InputError: if it has no running statistics.
        """
        if norm.running_mean is None or norm.running_var is None:
            raise InputError("FrozenBatchNorm: norm must have running statistics, got none. Train it with them first.")
        placed, affine = norm.running_mean, norm.affine
        frozen = cls(norm.num_features, norm.eps, affine=affine, device=placed.device, dtype=placed.dtype)
        with torch.no_grad():
            for name, tensor in norm.state_dict().items():
                getattr(frozen, name).data = tensor.detach().clone()
        for name, weight in norm.named_parameters(recurse=False):
            frozen.get_parameter(name).requires_grad_(weight.requires_grad)
        return frozen.train(norm.training)

    @property
    def uses_batch(self) -> bool:
        """Never."""
        return False

    def forward(self, input: Tensor) -> Tensor:
        """The input, normed by the frozen statistics."""
        self._check_input_dim(input)
        return self.by_running(input)
