"""Reading a parameterised map's geometry off its arguments: which is the weight, what are its fans."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from gainstage.numerics.fans import fans
from gainstage.trace import ops
from gainstage.trace.ops import OpSpec
from gainstage.trace.provenance import Origin
from gainstage.trace.records import LayerKind


@dataclass(frozen=True)
class Part:
    """One of several maps that are packed in one weight: of the output's last dimension, ``length`` from ``start``."""

    label: str
    start: int
    length: int
    weight: torch.Tensor
    bias: torch.Tensor | None


@dataclass(frozen=True)
class Geometry:
    """A map as it was called.

    ``signal`` is None for lookups, whose input holds indices. ``plain``: the weight is one parameter as it is, or
    a slice of it, not computed from parameters. ``parts``: q, k and v in one weight are maps of their own.
    """

    op: str
    kind: LayerKind
    signal: torch.Tensor | None
    weight: torch.Tensor
    bias: torch.Tensor | None
    parameters: tuple[str, ...]
    fan_in: float
    fan_out: float
    unit_dim: int
    plain: bool = False
    parts: tuple[Part, ...] = ()
    attributes: dict[str, float] = field(default_factory=dict[str, float])


# What a module calls its weight; the hooks of the older weight_norm, spectral_norm and pruning rename it.
_WEIGHTS = ("weight", "weight_v", "weight_g", "weight_orig")

# What torch calls three projections of E features each in one weight.
PACKED = "in_proj_weight"

OriginOf = Callable[[torch.Tensor], Origin]


def owner(parameter: str) -> str:
    """What a map is called after its weight: the module that owns a ``weight``, else the parameter's own path."""
    path, _, last = parameter.rpartition(".")
    return path if last in _WEIGHTS else parametrized(parameter) or parameter


def parametrized(parameter: str) -> str | None:
    """The owner of ``layer.parametrizations.weight.original0``; None for other names."""
    path, found, tail = parameter.partition("parametrizations.")
    return path.rstrip(".") if found and tail.startswith("weight.") else None


def module_path(parameter: str) -> str:
    """Dotted path of the module that holds the parameter."""
    path = parametrized(parameter)
    return parameter.rpartition(".")[0] if path is None else path


def geometry(spec: OpSpec, args: tuple[Any, ...], origin_of: OriginOf) -> Geometry | None:
    """The map's geometry, or None if neither of its operands comes from parameters alone (a product of two
    signals is no layer)."""
    if spec.name == "rnn":
        return _recurrent(args, origin_of)
    assert spec.weight is not None
    signal, weight = args[spec.argument], args[spec.weight]
    swapped = not origin_of(weight).parameters and spec.kind == "linear" and bool(origin_of(signal).parameters)
    if swapped:
        signal, weight = weight, signal
    origin = origin_of(weight)
    if not origin.parameters or origin.data or (spec.kind != "embedding" and not origin_of(signal).data):
        return None
    bias = args[spec.bias] if spec.bias is not None and len(args) > spec.bias else None
    has_bias = isinstance(bias, torch.Tensor) and bool(origin_of(bias).parameters)
    parameters = (*origin.parameters, *(origin_of(bias).parameters if has_bias and bias is not None else ()))
    op, (fan_in, fan_out), attributes = _fans(spec, args, weight, swapped=swapped)
    parts = ()
    if origin.plain and origin.parameters[0].endswith(PACKED) and spec.kind == "linear" and weight.ndim == 2:
        parts = _parts(weight, bias if has_bias else None, int(fan_in), out_first=weight.shape[0] == fan_out)
    return Geometry(
        op=op, kind=spec.kind, signal=None if spec.kind == "embedding" else signal, weight=weight,
        bias=bias if has_bias else None, parameters=parameters, fan_in=fan_in,
        fan_out=fan_in if parts else fan_out, unit_dim=1 if spec.kind == "conv" else -1, attributes=attributes,
        plain=origin.plain, parts=parts,
    )  # fmt: skip


def lookup(weight: torch.Tensor, origin: Origin) -> Geometry:
    """The geometry of rows picked out of a parameter by indices."""
    return Geometry(
        op="embedding", kind="embedding", signal=None, weight=weight, bias=None, parameters=origin.parameters,
        fan_in=1.0, fan_out=float(weight.shape[-1]), unit_dim=-1, plain=origin.plain,
    )  # fmt: skip


def _parts(weight: torch.Tensor, bias: torch.Tensor | None, features: int, *, out_first: bool) -> tuple[Part, ...]:
    """The projections of `nn.MultiheadAttention` in (a slice of) its (3E, E) weight (pytorch issue 166378)."""
    dim = 0 if out_first else 1
    first, rest = divmod(int(weight.storage_offset()), features * features)
    count, partial = divmod(weight.shape[dim], features)
    if rest or partial or not 1 <= first + count <= 3:
        return ()
    return tuple(
        Part(
            "qkv"[first + i], i * features, features, weight.narrow(dim, i * features, features),
            None if bias is None else bias.narrow(0, i * features, features),
        )
        for i in range(count)
    )  # fmt: skip


def _fans(
    spec: OpSpec, args: tuple[Any, ...], weight: torch.Tensor, *, swapped: bool
) -> tuple[str, tuple[float, float], dict[str, float]]:
    if spec.kind == "conv":
        stride, transposed, groups = ops.convolution_geometry(args)
        result = fans(tuple(weight.shape), groups=groups, transposed=transposed, stride=stride)
        name = f"conv{'_transpose' if transposed else ''}{weight.ndim - 2}d"
        attributes = {"groups": float(groups)}
        covered = 1.0 if transposed else ops.coverage(args)
        if covered < 1:
            attributes["coverage"] = covered
        return name, (result.fan_in, result.fan_out), attributes
    if spec.name == "bilinear":
        return spec.name, (float(weight.shape[1] * weight.shape[2]), float(weight.shape[0])), {}
    if spec.kind == "embedding":
        # A lookup reads one row: its output has the variance of the table itself.
        return spec.name, (1.0, float(weight.shape[-1])), {}
    rows, columns = (weight.shape[-2], weight.shape[-1]) if weight.ndim > 1 else (weight.shape[0], 1)
    # `linear` and `mv` hold (out, in); the matrix products of linear layers hold the transpose, (in, out).
    out_first = spec.name == "linear" and spec.weight == 1 and spec.bias == 2
    if out_first or swapped or spec.weight == 0:
        rows, columns = columns, rows
    return spec.name, (float(rows), float(columns)), {}


def _recurrent(args: tuple[Any, ...], origin_of: OriginOf) -> Geometry | None:
    signal, weights = args[0], [arg for arg in args[1:5] if isinstance(arg, torch.Tensor)]
    names = [name for weight in weights for name in origin_of(weight).parameters]
    if not names:
        return None
    first = weights[0]
    return Geometry(
        op="rnn", kind="other", signal=signal, weight=first, bias=None, parameters=tuple(names),
        fan_in=float(first.shape[-1]), fan_out=float(first.shape[0]), unit_dim=-1,
    )  # fmt: skip
