"""Reading the facts of a normalization off its arguments."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch._ops import OpOverload

from gainstage.trace import ops
from gainstage.trace.figures import short, unit_figures
from gainstage.trace.sums import Array, Sums

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)

# Of ε: a channel of such variance leaves the norm at a hundredth of unit scale.
SMALL_VARIANCE = 1e-4
# Fewer steps are no sequence.
_LEAST_STEPS = 4
# A variance of zero is taken for this one.
_LEAST = 1e-30

Call = dict[str, Any]
Running = tuple[torch.Tensor, torch.Tensor]


def named_arguments(func: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
    """The arguments by the names of the operation's schema."""
    named = {argument.name: value for argument, value in zip(ops.arguments_of(func), args, strict=False)}
    return {**named, **kwargs, "op": func.overloadpacket.__name__}


def running_statistics(func: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Running | None:
    """Copies of the running mean and variance from before the call, which may update them."""
    named = named_arguments(func, args, kwargs)
    mean, var = named.get("running_mean"), named.get("running_var")
    return (mean.clone(), var.clone()) if isinstance(mean, torch.Tensor) and isinstance(var, torch.Tensor) else None


def facts(op: str, named: Call, module: nn.Module | None, batch_size: int | None) -> dict[str, object]:
    """The fields of `NormRecord` that are known without reducing a tensor."""
    source: torch.Tensor = named["input"]
    kind = {"batch_norm": "batch", "layer_norm": "layer", "group_norm": "group", "rms_norm": "rms"}[op]
    if kind == "batch" and (isinstance(module, INSTANCE_NORMS) or _reshaped(source, batch_size)):
        kind = "instance"
    statistics = uses_batch_statistics(named)
    tracked = getattr(module, "num_batches_tracked", None) if kind == "batch" else None
    updates = None
    if isinstance(tracked, torch.Tensor) and tracked.numel() == 1 and not tracked.is_meta:
        updates = int(tracked)
    if updates is not None and statistics and getattr(module, "training", False):
        updates -= 1  # this very call has counted itself
    return {
        "type": kind,
        "uses_batch_statistics": statistics,
        "values_per_statistic": _values(kind, named),
        "eps": float(named.get("eps", named.get("epsilon", 0.0)) or 0.0),
        "affine": isinstance(named.get("weight"), torch.Tensor),
        "updates": updates,
        "momentum": _momentum(named, module) if kind == "batch" else None,
        "synchronized": kind == "batch" and "sync" in type(module).__name__.lower(),
    }


def padded_share(norm: Mapping[str, object], signal: torch.Tensor, batch_size: int | None) -> torch.Tensor | None:
    """Share of a sequence's steps that are padding, by `NormRecord.padded_share`; on the signal's device.

    Args:
        norm: Its `facts`; None is returned but for a batch norm in training mode.
        signal: What a batch norm reads: (samples, channels, steps), or (samples · steps, channels).
        batch_size: Number of samples.
    """
    judged = norm["type"] == "batch" and norm["uses_batch_statistics"]
    steps = _by_step(signal.detach(), batch_size) if judged else None
    if steps is None or steps.shape[1] < _LEAST_STEPS:
        return None
    same = (steps[:, 1:] == steps[:, :-1]).all(2)
    runs = sum(_run(same if first else same.flip(1)) for first in (True, False))
    # A sample that never changes is constant in time, and not padded.
    return torch.where(same.all(1), 0, runs).sum() / (steps.shape[0] * steps.shape[1])


def _by_step(signal: torch.Tensor, batch_size: int | None) -> torch.Tensor | None:
    """The signal as (samples, steps, channels); None if it is no sequence."""
    if signal.ndim == 3:
        return signal.transpose(1, 2)
    if signal.ndim != 2 or not batch_size or len(signal) <= batch_size or len(signal) % batch_size:
        return None
    return signal.unflatten(0, (batch_size, -1))


def _run(same: torch.Tensor) -> torch.Tensor:
    """How many steps at the beginning are equal, 0 for a single one."""
    equal = same.long().cumprod(1).sum(1)
    return torch.where(equal > 0, equal + 1, 0)


def _momentum(named: Call, module: nn.Module | None) -> float | None:
    """Of the module, which turns a cumulative average (None) into a number anew for each call; else of the call."""
    if not isinstance(named.get("running_mean"), torch.Tensor):
        return None
    if isinstance(module, BATCH_NORMS):
        return None if module.momentum is None else float(module.momentum)
    given = named.get("momentum", named.get("exponential_average_factor"))
    return None if given is None else float(given)


def facts_by_hand(kind: str, values: int, module: nn.Module | None) -> dict[str, object]:
    """`facts` of a norm that runs as single operations; its ε is asked of the module."""
    eps = next((e for name in ("eps", "variance_epsilon") if isinstance(e := getattr(module, name, None), float)), 0.0)
    return {
        "type": kind, "uses_batch_statistics": True, "values_per_statistic": values, "eps": eps, "affine": False,
        "updates": None,
    }  # fmt: skip


def _reshaped(source: torch.Tensor, batch_size: int | None) -> bool:
    # aten runs instance norm as a batch norm of one sample with N·C channels.
    return source.shape[0] == 1 and batch_size is not None and batch_size > 1 and source.ndim > 2


def uses_batch_statistics(named: Call) -> bool:
    """False for a batch norm that applies its running averages."""
    if "no_training" in named["op"] or "no_update" in named["op"]:
        return False
    return bool(named.get("training", True))


def _values(kind: str, named: Call) -> int:
    source: torch.Tensor = named["input"]
    if kind in ("layer", "rms"):
        return math.prod(int(size) for size in named["normalized_shape"])
    if kind == "group":
        return int(named["C"]) * int(named["HxW"]) // int(named["group"])
    return source.numel() // max(1, source.shape[1])


def against_running(sums: Sums, running: Running) -> tuple[float, float] | None:
    """How far the batch's statistics are from the running ones.

    Args:
        sums: Of the norm's input, by channel.
        running: Mean and variance from before the call.

    Returns:
        rms over channels of (batch mean - running mean) / batch std, and the geometric mean over channels of
        batch variance / running variance; None with one value a channel, or where these are not finite.
    """
    running_mean, running_var = (tensor.detach().cpu().double().numpy() for tensor in running)
    return _distance(sums, running_mean, running_var)


def against_first(sums: Sums, first: Sums) -> tuple[float, float] | None:
    """`against_running`, of a call's batch against that of the same module's first call."""
    mean, std = unit_figures(first)
    return None if first.values_per_unit < 2 or len(mean) != len(sums.first) else _distance(sums, mean, std * std)


def _distance(sums: Sums, running_mean: Array, running_var: Array) -> tuple[float, float] | None:
    if sums.values_per_unit < 2:
        return None
    mean, std = unit_figures(sums)
    var = np.maximum(std * std, _LEAST)
    shift = math.sqrt(float(np.mean((mean - running_mean) ** 2 / var)))
    ratio = math.exp(float(np.mean(np.log(var / np.maximum(running_var, _LEAST)))))
    return (shift, ratio) if math.isfinite(shift) and math.isfinite(ratio) else None


def channel_facts(sums: Sums, running: Running, eps: float) -> dict[str, object]:
    """How many channels there are, how many hardly vary, and whether the running statistics ever moved."""
    mean, var = running
    facts: dict[str, object] = {"initial_statistics": not bool(mean.any()) and bool((var == 1).all())}
    if sums.values_per_unit >= 2 and not int(sums.non_finite):
        var = unit_figures(sums)[1] ** 2
        facts |= {"channels": len(var), "small_channels": int(np.count_nonzero(var <= SMALL_VARIANCE * eps))}
        facts["input_channel_std"] = short(math.sqrt(float(var.mean())))
    return facts
