"""Scaling and shifting what a linear or convolutional layer returns, or reads, by changing its weight and bias."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd  # pyright: ignore[reportPrivateUsage]

from gainstage.norm.surgery.copying import hooked
from gainstage.seeding import preserved_rng

Map = nn.Linear | _ConvNd
MAPS = (nn.Linear, _ConvNd)


@dataclass(frozen=True)
class Affine:
    """y_c = scale_c · x_c + shift_c, in float64."""

    scale: torch.Tensor
    shift: torch.Tensor


def is_map(module: nn.Module) -> bool:
    """Whether it is a linear layer or a convolution, of torch's class or one made from it."""
    return isinstance(module, MAPS)


def channel_dim(module: Map, ndim: int) -> int:
    """The dimension of its output, of ``ndim`` dimensions, that holds the channels."""
    return ndim - 1 if isinstance(module, nn.Linear) else 1 if ndim == module.weight.ndim else 0


def out_channels(module: Map) -> int:
    """How many channels it returns."""
    return module.out_features if isinstance(module, nn.Linear) else module.out_channels


def map_obstacle(module: Map, owners: dict[int, list[str]]) -> str:
    """Why weight and bias may not be changed, or "".

    Args:
        module: The layer.
        owners: Paths of each parameter by its id.
    """
    if "weight" not in vars(module)["_parameters"] or hasattr(module, "parametrizations"):
        return "its weight is computed: parametrized, pruned or normalised"
    for parameter in module.parameters(recurse=False):
        if len(owners.get(id(parameter), ())) > 1:
            return f"its parameter is shared ({', '.join(owners[id(parameter)][:3])})"
    if module.weight.is_complex() or not module.weight.is_floating_point():
        return f"its weight is of type {module.weight.dtype}"
    return "a hook sees or changes what it returns" if hooked(module) else ""


def _out_rows(module: Map, weight: torch.Tensor) -> torch.Tensor:
    """The weight as (out, ...): a view, except that a transposed convolution holds (in, out/groups, ...)."""
    if not isinstance(module, _ConvTransposeNd):
        return weight
    groups = module.groups
    split = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
    return split.transpose(1, 2).reshape(groups * weight.shape[1], weight.shape[0] // groups, *weight.shape[2:])


def _from_out_rows(module: Map, rows: torch.Tensor) -> torch.Tensor:
    if not isinstance(module, _ConvTransposeNd):
        return rows
    groups = module.groups
    split = rows.reshape(groups, rows.shape[0] // groups, *rows.shape[1:])
    return split.transpose(1, 2).reshape(groups * rows.shape[1], rows.shape[0] // groups, *rows.shape[2:])


def out_rows(module: Map) -> torch.Tensor:
    """The weight with one row for each output channel, in float64."""
    return _out_rows(module, module.weight.detach().double()).flatten(1)


@torch.no_grad()
def fold_behind(module: Map, affine: Affine) -> None:
    """Makes the layer return scale·y + shift of what it returned, in place: W ← scale W, b ← scale b + shift."""
    rows = _out_rows(module, module.weight.double())
    scaled = rows * affine.scale.view(-1, *[1] * (rows.ndim - 1))
    bias = torch.zeros_like(affine.shift) if module.bias is None else module.bias.double()
    module.weight.copy_(_from_out_rows(module, scaled))
    _set_bias(module, affine.scale * bias + affine.shift)


def before_obstacle(module: Map, affine: Affine) -> str:
    """Why scale and shift of its input cannot be taken into it, or "": every output must see the shift of every tap."""
    if isinstance(module, nn.Linear) or not bool(affine.shift.any()):
        return ""
    if isinstance(module, _ConvTransposeNd):
        single = all(size == 1 for size in (*module.kernel_size, *module.stride)) and not any(
            (*_numbers(module.padding), *module.output_padding)
        )
        return "" if single else "its outputs see different taps, hence different shares of the shift"
    padded = module.padding != "valid" and any(_numbers(module.padding)) if module.padding != "same" else (
        any(size > 1 for size in module.kernel_size)
    )  # fmt: skip
    return "its zero padding does not see the shift" if padded and module.padding_mode == "zeros" else ""


@torch.no_grad()
def misfit(module: Map, affine: Affine, *, before: bool) -> str:
    """Why a class with a forward of its own (standardized weights, padding of its own) cannot take it in, or "".

    Copies are tried on random numbers. A forward that does not run on them is left to the comparison of whole models.

    Args:
        module: The layer.
        affine: What it is to take in.
        before: Whether that stands before the layer.
    """
    if str(type(module).forward.__module__).startswith("torch.nn.modules."):
        return ""
    plain, folded = (copy.deepcopy(module).eval() for _ in range(2))
    (fold_before if before else fold_behind)(folded, affine)
    run: Any = type(module).forward
    with preserved_rng(0):
        x = torch.randn(_probe_shape(module)).to(module.weight)
        try:
            expected = run(plain, _applied(affine, x) if before else x)
            expected, found = expected if before else _applied(affine, expected), run(folded, x)
        except Exception:
            return ""
    tolerance = torch.finfo(x.dtype).eps ** 0.5 * float(expected.abs().max())
    same = expected.shape == found.shape and torch.allclose(found, expected, rtol=0, atol=tolerance)
    return "" if same else f"{type(module).__name__} does more in its forward than the layer it is made from"


def _probe_shape(module: Map) -> tuple[int, ...]:
    if isinstance(module, nn.Linear):
        return 4, module.in_features
    reach = (step * (size - 1) + 3 for step, size in zip(module.dilation, module.kernel_size, strict=True))
    return 2, module.in_channels, *reach


def _applied(affine: Affine, x: torch.Tensor) -> torch.Tensor:
    shape = (1, -1, *[1] * (x.ndim - 2))
    return (x.double() * affine.scale.view(shape) + affine.shift.view(shape)).to(x.dtype)


def _numbers(padding: Any) -> tuple[int, ...]:
    return tuple(padding) if isinstance(padding, tuple) else ()


@torch.no_grad()
def fold_before(module: Map, affine: Affine) -> None:
    """Makes the layer compute from x what it computed from scale·x + shift, in place.

    W[o, i] ← W[o, i] scale_i,  b_o ← b_o + Σ_i,taps W[o, i, tap] shift_i
    """
    rows = _out_rows(module, module.weight.double())
    groups = 1 if isinstance(module, nn.Linear) else module.groups
    split = rows.reshape(groups, rows.shape[0] // groups, rows.shape[1], -1)
    scale, shift = (vector.view(groups, 1, -1, 1) for vector in (affine.scale, affine.shift))
    bias = (split * shift).sum((2, 3)).flatten()
    if module.bias is not None:
        bias = bias + module.bias.double()
    module.weight.copy_(_from_out_rows(module, (split * scale).reshape(rows.shape)))
    if module.bias is not None or bool(bias.any()):
        _set_bias(module, bias)


def _set_bias(module: Map, bias: torch.Tensor) -> None:
    if module.bias is None:
        made = bias.to(module.weight.dtype)
        module.register_parameter("bias", nn.Parameter(made, requires_grad=module.weight.requires_grad))
    else:
        module.bias.copy_(bias)
