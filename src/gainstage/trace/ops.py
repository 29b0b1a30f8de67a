"""What each aten operation is to a recording: its role, the name that users know it by, its numbers.

The tables are the only place that knows operations by name; a new operation is one new line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import torch
from torch._ops import OpOverload

from gainstage.trace.records import LayerKind

Role = Literal[
    "map", "norm", "activation", "attention", "add", "mul", "loss", "view", "lookup", "fresh", "random", "other"
]


@dataclass(frozen=True)
class OpSpec:
    """An operation as a recording sees it.

    Attributes:
        name: The name in `LayerRecord.op`.
        kind: The record's kind.
        argument: Position of the argument that carries the signal.
        weight: Position of the weight among the arguments, for maps.
        bias: Position of the bias, for maps.
        plateau: Outputs at or beyond these are saturated.
        rectifier: Whether its exact zeros mean a unit that is switched off.
    """

    role: Role
    name: str
    kind: LayerKind = "other"
    argument: int = 0
    weight: int | None = None
    bias: int | None = None
    plateau: tuple[float, float] | None = None
    rectifier: bool = False


# |φ'| < 0.05 of its maximum: s(1-s) < 0.0125 for sigmoid, 1 - t² < 0.05 for tanh.
_SIGMOID_PLATEAU = ((1 - math.sqrt(0.95)) / 2, (1 + math.sqrt(0.95)) / 2)
_TANH_PLATEAU = (-math.sqrt(0.95), math.sqrt(0.95))


def _table(role: Role, kind: LayerKind, names: Mapping[str, str], **fields: Any) -> dict[str, OpSpec]:
    return {aten: OpSpec(role, name, kind, **fields) for aten, name in names.items()}


def _same(names: str) -> dict[str, str]:
    return {name: name for name in names.split()}


_CONVOLUTIONS = _same("convolution _convolution convolution_overrideable cudnn_convolution mkldnn_convolution")
_BATCH_NORMS = (
    "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training cudnn_batch_norm "
    "miopen_batch_norm _batch_norm_with_update _batch_norm_no_update"
)
_SDPA = (
    "_scaled_dot_product_flash_attention _scaled_dot_product_flash_attention_for_cpu "
    "_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention "
    "_scaled_dot_product_attention_math _scaled_dot_product_fused_attention_overrideable"
)
_VIEWS = (
    "view _unsafe_view reshape _reshape_alias t transpose permute expand squeeze unsqueeze slice select split "
    "split_with_sizes unsafe_split unsafe_split_with_sizes unbind chunk narrow as_strided unfold diagonal "
    "view_as clone contiguous detach alias _to_copy to copy_ copy cat stack real imag view_as_real "
    "view_as_complex movedim swapaxes unflatten flatten _to_dense expand_copy view_copy squeeze_copy _conj "
    "constant_pad_nd pixel_shuffle pixel_unshuffle roll flip"
)
_LOSSES = (
    "nll_loss_forward nll_loss2d_forward nll_loss_nd mse_loss binary_cross_entropy "
    "binary_cross_entropy_with_logits smooth_l1_loss huber_loss soft_margin_loss multi_margin_loss "
    "multilabel_margin_loss_forward kl_div _ctc_loss poisson_nll_loss"
)

_SPECS: dict[str, OpSpec] = {
    "mm": OpSpec("map", "linear", "linear", weight=1),
    "mv": OpSpec("map", "linear", "linear", argument=1, weight=0),
    "bmm": OpSpec("map", "linear", "linear", weight=1),
    "addmm": OpSpec("map", "linear", "linear", argument=1, weight=2, bias=0),
    "addmv": OpSpec("map", "linear", "linear", argument=2, weight=1, bias=0),
    "baddbmm": OpSpec("map", "linear", "linear", argument=1, weight=2, bias=0),
    "linear": OpSpec("map", "linear", "linear", weight=1, bias=2),
    "mkldnn_linear": OpSpec("map", "linear", "linear", weight=1, bias=2),
    "_trilinear": OpSpec("map", "bilinear", "linear", weight=1),
    "embedding": OpSpec("map", "embedding", "embedding", argument=1, weight=0),
    "_embedding_bag": OpSpec("map", "embedding_bag", "embedding", argument=1, weight=0),
    "_grouped_mm": OpSpec("map", "linear", "linear", weight=1),
    "mkldnn_rnn_layer": OpSpec("map", "rnn", "other", weight=1),
    **_table("map", "conv", _CONVOLUTIONS, weight=1, bias=2),
    **_table("norm", "norm", dict.fromkeys(_BATCH_NORMS.split(), "batch_norm")),
    "native_layer_norm": OpSpec("norm", "layer_norm", "norm"),
    "native_group_norm": OpSpec("norm", "group_norm", "norm"),
    "_fused_rms_norm": OpSpec("norm", "rms_norm", "norm"),
    **_table("activation", "activation", _same("leaky_relu elu gelu silu mish softplus hardswish rrelu threshold")),
    "rrelu_with_noise": OpSpec("activation", "rrelu", "activation"),
    "_prelu_kernel": OpSpec("activation", "prelu", "activation"),
    "relu": OpSpec("activation", "relu", "activation", rectifier=True),
    "clamp_min": OpSpec("activation", "clamp_min", "activation", rectifier=True),
    "hardtanh": OpSpec("activation", "hardtanh", "activation", rectifier=True),
    "sigmoid": OpSpec("activation", "sigmoid", "activation", plateau=_SIGMOID_PLATEAU),
    "tanh": OpSpec("activation", "tanh", "activation", plateau=_TANH_PLATEAU),
    "hardsigmoid": OpSpec("activation", "hardsigmoid", "activation", plateau=(0.0, 1.0)),
    "log_sigmoid_forward": OpSpec("activation", "log_sigmoid", "activation"),
    "glu": OpSpec("activation", "glu", "activation"),
    "_softmax": OpSpec("activation", "softmax", "activation"),
    "_safe_softmax": OpSpec("activation", "softmax", "activation"),
    "_log_softmax": OpSpec("activation", "log_softmax", "activation"),
    "clamp": OpSpec("activation", "clamp", "activation", rectifier=True),
    **_table("activation", "activation", _same("sin celu selu hardshrink softshrink")),
    **_table("attention", "attention", dict.fromkeys(_SDPA.split(), "scaled_dot_product_attention")),
    "add": OpSpec("add", "add"),
    "sub": OpSpec("add", "sub"),
    "mul": OpSpec("mul", "mul"),
    "div": OpSpec("mul", "div"),
    **_table("loss", "other", _same(_LOSSES)),
    **_table("view", "other", _same(_VIEWS)),
    **_table("lookup", "other", _same("index_select index gather take")),
    # Their values have nothing to do with the tensor whose shape they take; a new tensor that no operation made.
    **_table(
        "fresh",
        "other",
        _same(
            "zeros_like ones_like full_like empty_like new_zeros new_ones new_full new_empty "
            "zeros ones full empty lift_fresh scalar_tensor arange eye"
        ),
    ),
    **_table("random", "other", _same("bernoulli rand_like randn_like rand randn normal")),
}
# Of activations that are recognised by how they are put together.
NO_PLATEAU = OpSpec("activation", "by_hand", "activation")

_LOSS_NAMES = {
    "nll_loss_forward": "nll_loss",
    "nll_loss2d_forward": "nll_loss",
    "_log_softmax": "log_softmax",
    "multilabel_margin_loss_forward": "multilabel_margin_loss",
}


@lru_cache(maxsize=4096)
def spec_of(op: OpOverload) -> OpSpec:
    """The operation's spec; an in-place one has that of its functional twin."""
    name = op.overloadpacket.__name__
    functional = name[:-1] if name.endswith("_") and not name.startswith("__") else name
    return _SPECS.get(functional) or _SPECS.get(name) or OpSpec("other", functional.replace("_with_indices", ""))


def is_loss(op: OpOverload) -> bool:
    """Whether the operation is a loss function, or the log-softmax in front of one."""
    name = op.overloadpacket.__name__
    return name == "_log_softmax" or spec_of(op).role == "loss"


def loss_name(op: OpOverload) -> str:
    """The operation's name as a loss function is known by."""
    name = op.overloadpacket.__name__
    return _LOSS_NAMES.get(name, name)


@lru_cache(maxsize=4096)
def arguments_of(op: OpOverload) -> tuple[Any, ...]:
    """The arguments of the operation's schema, in order."""
    return tuple(getattr(op, "_schema").arguments)  # noqa: B009 - torch has no public way to it


@dataclass(frozen=True)
class OpFacts:
    """What never changes about an operation, looked up once.

    Attributes:
        name: Of the aten operation, with the underscore of an in-place one.
        written: Positions or keywords of the arguments that it writes to.
        view: Whether its result always shares the memory of its argument.
    """

    name: str
    spec: OpSpec
    written: tuple[int | str, ...]
    view: bool


# Views by their schema, copies where they must be.
_MAYBE_COPIES = frozenset(_same("reshape flatten contiguous to narrow resolve_conj resolve_neg"))
_FACTS: dict[OpOverload, OpFacts] = {}


def facts_of(op: OpOverload) -> OpFacts:
    """The operation's facts."""
    facts = _FACTS.get(op)
    if facts is None:
        name = op.overloadpacket.__name__
        spec = spec_of(op)
        view = bool(op.is_view) and name not in _MAYBE_COPIES and spec.role != "fresh"
        facts = OpFacts(name, spec, _written_arguments(op), view)
        _FACTS[op] = facts
    return facts


def _written_arguments(op: OpOverload) -> tuple[int | str, ...]:
    found: list[int | str] = []
    for position, argument in enumerate(arguments_of(op)):
        if argument.alias_info is not None and argument.alias_info.is_write:
            found.append(argument.name if argument.kwarg_only else position)
    return tuple(found)


def _number(args: tuple[Any, ...], kwargs: Mapping[str, Any], position: int, name: str, default: float) -> float:
    value = args[position] if len(args) > position else kwargs.get(name, default)
    return float(value) if isinstance(value, (int, float)) else default


Attributes = dict[str, float]
Reader = Callable[[tuple[Any, ...], Mapping[str, Any]], tuple[str, Attributes]]


def _elu(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, Attributes]:
    alpha, scale, input_scale = (
        _number(args, kwargs, i + 1, key, 1.0) for i, key in enumerate(("alpha", "scale", "input_scale"))
    )
    if scale != 1.0:
        return "selu", {}
    return ("celu", {"alpha": 1 / input_scale}) if input_scale != 1.0 else ("elu", {"alpha": alpha})


def _hardtanh(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, Attributes]:
    low, high = _number(args, kwargs, 1, "min_val", -1.0), _number(args, kwargs, 2, "max_val", 1.0)
    return ("relu6", {}) if (low, high) == (0.0, 6.0) else ("hardtanh", {"min_val": low, "max_val": high})


def _gelu(_args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, Attributes]:
    return ("gelu_tanh" if kwargs.get("approximate", "none") == "tanh" else "gelu"), {}


def _leaky_relu(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, Attributes]:
    return "leaky_relu", {"negative_slope": _number(args, kwargs, 1, "negative_slope", 0.01)}


def _clamp_min(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, Attributes]:
    floor = _number(args, kwargs, 1, "min", 0.0)
    return ("relu", {}) if floor == 0.0 else ("clamp_min", {"min": floor})


def _clamp(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, Attributes]:
    low, high = _number(args, kwargs, 1, "min", -math.inf), _number(args, kwargs, 2, "max", math.inf)
    if high == math.inf:
        return ("relu", {}) if low == 0.0 else ("clamp_min", {"min": low})
    if low == -math.inf:
        return "clamp_max", {"max": high}
    return ("relu6", {}) if (low, high) == (0.0, 6.0) else ("hardtanh", {"min_val": low, "max_val": high})


def _softmax(args: tuple[Any, ...], _kwargs: Mapping[str, Any]) -> tuple[str, Attributes]:
    return "softmax", {"dim": float(args[1] % max(1, args[0].ndim))}


def _log_softmax(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, Attributes]:
    return "log_softmax", _softmax(args, kwargs)[1]


_READERS: dict[str, Reader] = {
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "clamp": _clamp,
    "elu": _elu,
    "hardtanh": _hardtanh,
    "gelu": _gelu,
    "leaky_relu": _leaky_relu,
    "clamp_min": _clamp_min,
}


def described(spec: OpSpec, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, Attributes]:
    """Name and numbers of this call: aten runs relu6 as hardtanh and selu as elu; users know the former."""
    reader = _READERS.get(spec.name)
    return reader(args, kwargs) if reader else (spec.name, {})


def convolution_geometry(args: tuple[Any, ...]) -> tuple[tuple[int, ...], bool, int]:
    """Stride, whether transposed, and groups, from the arguments of ``aten::convolution``."""
    return tuple(int(s) for s in args[3]), bool(args[6]), int(args[8])


def coverage(args: tuple[Any, ...]) -> float:
    """The share of a convolution's taps that lie on its input and not on the padding, over all outputs."""
    sizes, kernel = args[0].shape[2:], args[1].shape[2:]
    share = 1.0
    for dim, (size, taps) in enumerate(zip(sizes, kernel, strict=True)):
        stride, padding, dilation = (int(values[dim if len(values) > 1 else 0]) for values in args[3:6])
        if padding:
            share *= _covered(int(size), int(taps), stride, padding, dilation)
    return share


@lru_cache(maxsize=4096)
def _covered(size: int, taps: int, stride: int, padding: int, dilation: int) -> float:
    outputs = (size + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
    hits = 0
    for tap in range(taps):
        # Outputs o with 0 <= o * stride - padding + tap * dilation < size.
        offset = tap * dilation - padding
        first = max(0, -(offset // stride)) if offset < 0 else 0
        last = min(outputs - 1, (size - 1 - offset) // stride)
        hits += max(0, last - first + 1)
    return hits / (outputs * taps)


def signal_tensors(values: Any) -> list[torch.Tensor]:
    """The floating or complex tensors directly in (or one list deep in) an operation's arguments or results."""
    if isinstance(values, torch.Tensor):
        return [values] if values.is_floating_point() or values.is_complex() else []
    found: list[torch.Tensor] = []
    for value in values if isinstance(values, (tuple, list)) else ():
        if isinstance(value, torch.Tensor):
            if value.is_floating_point() or value.is_complex():
                found.append(value)
        elif isinstance(value, (tuple, list)):
            found.extend(v for v in value if isinstance(v, torch.Tensor) and (v.is_floating_point() or v.is_complex()))
    return found
