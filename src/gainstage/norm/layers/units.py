"""A weight as a matrix with a row for each output unit, whichever layer it is of."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd  # pyright: ignore[reportPrivateUsage]

from gainstage.errors import InputError
from gainstage.numerics import fans


@dataclass(frozen=True)
class OutputUnits:
    """How a weight's entries belong to output units.

    Attributes:
        groups: Of the convolution.
        transposed: Whether it is a transposed one, of shape (in, out/groups, ...).
    """

    groups: int = 1
    transposed: bool = False

    def rows(self, weight: Tensor) -> Tensor:
        """The weight as (out, entries of one unit).

        Example:
            >>> import torch
            >>> OutputUnits(2, True).rows(torch.zeros(8, 3, 5, 5)).shape
            torch.Size([6, 100])
        """
        if not self.transposed:
            return weight.flatten(1)
        blocks = weight.unflatten(0, (self.groups, -1)).transpose(1, 2)
        return blocks.flatten(0, 1).flatten(1)

    def weight(self, rows: Tensor, like: Tensor) -> Tensor:
        """The weight whose `rows` these are, of the shape of another."""
        if not self.transposed:
            return rows.reshape(like.shape)
        blocks = rows.reshape(self.groups, like.shape[1], like.shape[0] // self.groups, *like.shape[2:])
        return blocks.transpose(1, 2).flatten(0, 1)


def units_of(operation: str, module: nn.Module, name: str = "weight") -> OutputUnits:
    """How the units of a module's weight lie.

    Args:
        operation: The public function, as the user knows it.
        module: A linear layer, a convolution, a transposed one, or any module whose ``name`` has a row for each unit.
        name: The parameter.

    Raises:
        InputError: if the module has no such parameter, or it has fewer than two dimensions.

    Example:
        >>> units_of("weight_norm", nn.ConvTranspose2d(8, 6, 3, groups=2))
        OutputUnits(groups=2, transposed=True)
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor) or isinstance(weight, nn.UninitializedParameter) or weight.dim() < 2:
        found = "no shape yet" if isinstance(weight, nn.UninitializedParameter) else type(weight).__name__
        shape = f"shape {tuple(weight.shape)}" if isinstance(weight, Tensor) and found != "no shape yet" else found
        raise InputError(
            f"{operation}: {type(module).__name__}.{name} must be a weight of two or more dimensions, got {shape}. "
            "Pass a linear layer or a convolution; run a lazy one first."
        )
    if isinstance(module, _ConvNd) and name == "weight":
        return OutputUnits(module.groups, isinstance(module, _ConvTransposeNd))
    return OutputUnits()


def fan_in_of(module: nn.Module, name: str = "weight") -> float:
    """The number of inputs that one output unit sums, on average over positions where strides spread them."""
    weight, units = getattr(module, name), units_of("fan_in_of", module, name)
    stride = module.stride if isinstance(module, _ConvTransposeNd) else 1
    return fans(tuple(weight.shape), groups=units.groups, transposed=units.transposed, stride=stride).fan_in
