"""Weight standardization and its scaled form, by output unit of any linear layer or convolution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gainstage import theory
from gainstage.errors import InputError
from gainstage.norm.layers.inputs import parameter, widened
from gainstage.norm.layers.units import OutputUnits, fan_in_of, units_of
from gainstage.numerics import FloatArray, require_positive
from gainstage.theory import Activation

Layer = TypeVar("Layer", bound=nn.Module)
AnyActivation = Activation | str | Callable[[Any], Any]


class WeightStandardization(nn.Module):
    """A parametrization Ŵ = (W - μ)/√(σ² + ε), by output unit, with the biased variance.

    Args:
        units: How the weight's entries belong to output units.
        eps: ε.

    References:
        Qiao et al. 2019, Micro-batch training with batch-channel normalization and weight standardization.
    """

    def __init__(self, units: OutputUnits, eps: float) -> None:
        super().__init__()
        self.units, self.eps = units, eps

    def forward(self, weight: Tensor) -> Tensor:
        """Ŵ of W."""
        centred, var = _centred(self.units, weight)
        return self.units.weight(centred * torch.rsqrt(var + self.eps), weight).to(weight.dtype)


class ScaledWeightStandardization(nn.Module):
    """A parametrization Ŵ = γ gain (W - μ)/√max(σ² fan_in, ε), by output unit.

    Args:
        units: How the weight's entries belong to output units.
        count: Their number.
        gain: Of the activation before the layer.
        fan_in: Of one unit.
        eps: ε; above it Ŵ does not depend on the scale of W at all.
        like: The weight, for the device and type of γ, which is of shape (out,) and starts from 1.

    References:
        Brock, De and Smith 2021, Characterizing signal propagation in unnormalized ResNets.
    """

    def __init__(self, units: OutputUnits, count: int, gain: float, fan_in: float, eps: float, like: Tensor) -> None:
        super().__init__()
        self.units, self.gain, self.fan_in, self.eps = units, gain, fan_in, eps
        self.gamma = parameter(count, 1.0, like.device, like.dtype)

    def forward(self, weight: Tensor) -> Tensor:
        """Ŵ of W."""
        centred, var = _centred(self.units, weight)
        gain = widened(self.gamma)[:, None] * self.gain
        scaled = centred * (gain * torch.rsqrt((var * self.fan_in).clamp(min=self.eps)))
        return self.units.weight(scaled, weight).to(weight.dtype)


def _centred(units: OutputUnits, weight: Tensor) -> tuple[Tensor, Tensor]:
    rows = units.rows(widened(weight))
    centred = rows - rows.mean(1, keepdim=True)
    return centred, centred.square().mean(1, keepdim=True)


def weight_standardization(module: Layer, name: str = "weight", eps: float = 1e-5) -> Layer:
    """Reparametrizes a weight as Ŵ = (W - μ)/√(σ² + ε) by output unit, in place, and returns the module.

    Args:
        module: A linear layer, a convolution or a transposed one.
        name: Its parameter.
        eps: ε.

    Returns:
        The module.

    Raises:
        InputError: if the parameter is not a weight, or its units have a single entry.

    Validity:
        A norm behind it sets the scale: Ŵ by itself multiplies the signal's variance by fan_in. For networks without
        norms use `scaled_weight_standardization`.

    Example:
        >>> layer = weight_standardization(nn.Linear(100, 3))
        >>> [round(v, 2) for v in layer.weight.square().mean(1).tolist()]
        [1.0, 1.0, 1.0]

    References:
        Qiao et al. 2019, Micro-batch training with batch-channel normalization and weight standardization.
    """
    units = _varying_units("weight_standardization", module, name)
    parametrize.register_parametrization(module, name, WeightStandardization(units, eps))
    return module


def scaled_weight_standardization(
    module: Layer,
    activation: AnyActivation | None = None,
    *,
    gain: float | None = None,
    name: str = "weight",
    eps: float = 1e-4,
) -> Layer:
    """Reparametrizes a weight as Ŵ = γ gain (W - μ)/(σ √fan_in) by output unit, in place, and returns the module.

    Rows of mean 0 and mean square gain²/fan_in, whatever W: what φ makes of normal inputs of variance 1 leaves with
    variance γ². γ is learnt, ``parametrizations.weight.0.gamma``.

    Args:
        module: A linear layer, a convolution or a transposed one.
        activation: φ, which the layer's inputs come out of: a name of `gainstage.theory.activation`, an
            `Activation`, a module, or any elementwise function of torch tensors or numpy arrays. None: the identity.
        gain: In place of the activation's, `activation_gain`.
        name: The parameter.
        eps: ε, the least σ² fan_in that is divided by.

    Returns:
        The module.

    Raises:
        InputError: if the parameter is not a weight, its units have a single entry, both an activation and a gain are
            given, or the activation has no gain.

    Validity:
        Wide layers; padding by zeros takes away part of the signal at the border. A strided transposed convolution
        has the fan_in of its average position, and each position sums a part of the taps, whose weights' mean is not
        quite 0: variance over samples is kept, and the mean of φ leaks into those of the outputs.

    Example:
        >>> layer = scaled_weight_standardization(nn.Conv2d(8, 16, 3), nn.GELU())
        >>> bool(layer.weight.flatten(1).mean(1).abs().max() < 1e-6)
        True
        >>> round(layer.weight.square().mean().tolist() ** 0.5 * 72**0.5, 4) == round(activation_gain("gelu"), 4)
        True

    References:
        Brock, De and Smith 2021, Characterizing signal propagation in unnormalized ResNets; Brock et al. 2021,
        High-performance large-scale image recognition without normalization.
    """
    operation = "scaled_weight_standardization"
    if gain is not None and activation is not None:
        raise InputError(f"{operation}: gain must not be given beside an activation, got {gain!r}. Give one of both.")
    units = _varying_units(operation, module, name)
    used = (
        activation_gain(activation) if gain is None else require_positive(operation, "gain", gain, "Give 1 for none.")
    )
    weight = getattr(module, name)
    standardization = ScaledWeightStandardization(
        units, len(units.rows(weight)), used, fan_in_of(module, name), eps, weight
    )
    parametrize.register_parametrization(module, name, standardization)
    return module


def activation_gain(activation: AnyActivation | None) -> float:
    """Returns (Var φ(z))^(-1/2) for standard normal z, the gain of `scaled_weight_standardization`.

    Args:
        activation: As there.

    Returns:
        The gain; 1 for None.

    Raises:
        InputError: if φ is constant, not finite or not elementwise; `UnknownNameError` for a name that is not known.

    Validity:
        As `gainstage.theory.activation_of`, for what is not a name or an `Activation`.

    Example:
        >>> [round(activation_gain(act), 6) for act in ("relu", torch.nn.ReLU(inplace=True), np.tanh, None)]
        [1.712859, 1.712859, 1.592537, 1.0]

    References:
        Brock, De and Smith 2021, Characterizing signal propagation in unnormalized ResNets.
    """
    if activation is None:
        return 1.0
    if isinstance(activation, str):
        return theory.nf_gain(theory.activation(activation))
    if isinstance(activation, Activation):
        return theory.nf_gain(activation)
    return theory.nf_gain(theory.activation_of(_on_arrays(activation)))


def _on_arrays(function: Callable[[Any], Any]) -> Callable[[FloatArray], FloatArray]:
    """A function of tensors as one of numpy arrays; one of arrays as it is."""
    weight = next(function.parameters(), None) if isinstance(function, nn.Module) else None
    device = None if weight is None else weight.device

    def on_arrays(z: FloatArray) -> FloatArray:
        with torch.no_grad():
            # A copy, as an activation may work in place.
            found = function(torch.tensor(z, dtype=torch.float64, device=device))
        return np.asarray(found.cpu().numpy(), dtype=np.float64)

    return on_arrays if isinstance(function, nn.Module) or not _takes_arrays(function) else function


def _takes_arrays(function: Callable[[Any], Any]) -> bool:
    """Whether it is written for numpy; functions of torch refuse an array."""
    try:
        return isinstance(function(np.zeros(1)), np.ndarray)
    except (TypeError, ValueError, AttributeError):
        return False


def _varying_units(operation: str, module: nn.Module, name: str) -> OutputUnits:
    units = units_of(operation, module, name)
    entries = units.rows(getattr(module, name)).shape[1]
    if entries < 2:
        raise InputError(
            f"{operation}: {name} must have two or more entries for each output unit, got {entries}. "
            "Leave this layer as it is."
        )
    return units
