"""Weight normalization, by output unit of any linear layer or convolution."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gainstage.errors import InputError
from gainstage.norm.layers.inputs import widened
from gainstage.norm.layers.units import OutputUnits, units_of

Layer = TypeVar("Layer", bound=nn.Module)


class WeightNorm(nn.Module):
    """A parametrization W = g V/‖V‖, by output unit: length and direction apart.

    Args:
        units: How the weight's entries belong to output units.

    Shape:
        g: (out, 1, ..., 1), as `torch.nn.utils.parametrizations.weight_norm` has it; V and W: of the weight.

    References:
        Salimans and Kingma 2016, Weight normalization.
    """

    def __init__(self, units: OutputUnits) -> None:
        super().__init__()
        self.units = units

    def forward(self, length: Tensor, direction: Tensor) -> Tensor:
        """W of g and V."""
        rows = self.units.rows(widened(direction))
        scale = widened(length).reshape(-1, 1) / torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        return self.units.weight(rows * scale, direction).to(direction.dtype)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """g and V of W, with V = W.

        Raises:
            InputError: if all of a unit's weights are zero: they have no direction.
        """
        lengths = torch.linalg.vector_norm(self.units.rows(widened(weight)), dim=1)
        empty = 0 if weight.is_meta else int((lengths == 0).sum())
        if empty:
            raise InputError(
                f"weight_norm: weight must have a direction in each of {len(lengths)} units, got {empty} of zeros. "
                "Initialize the layer first; a length of zero can be set afterwards."
            )
        return lengths.view(-1, *[1] * (weight.dim() - 1)).to(weight.dtype), weight


def weight_norm(module: Layer, name: str = "weight") -> Layer:
    """Reparametrizes a weight as W = g V/‖V‖ by output unit, in place, and returns the module.

    g and V become ``parametrizations.weight.original0`` and ``original1``, as with torch's own, whose state_dicts
    load; of transposed convolutions torch norms by input channel, and here it is by output unit, groups or not. The
    weight itself does not change. Undo it with `torch.nn.utils.parametrize.remove_parametrizations`.

    Args:
        module: A linear layer, a convolution or a transposed one.
        name: Its parameter.

    Returns:
        The module.

    Raises:
        InputError: if the parameter is not a weight, or has a unit of zeros.

    Validity:
        The gradient of V is orthogonal to it: ‖V‖ only grows under plain gradient descent.

    Example:
        >>> layer = weight_norm(nn.ConvTranspose2d(4, 6, 3, groups=2))
        >>> tuple(layer.parametrizations.weight.original0.shape)
        (6, 1, 1, 1)

    References:
        Salimans and Kingma 2016, Weight normalization, equation 2.
    """
    parametrize.register_parametrization(module, name, WeightNorm(units_of("weight_norm", module, name)))
    return module
