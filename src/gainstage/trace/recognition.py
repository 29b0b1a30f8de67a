"""Activations and norms that a model writes out by hand, recognised by how their last operation comes about."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gainstage.trace.draft import Draft
from gainstage.trace.provenance import Origin

# What x is multiplied by (the activation before, what came between x and it) and what the product is called.
_GATES: dict[tuple[str, tuple[str, ...]], str] = {
    ("sigmoid", ()): "silu",
    ("sigmoid", ("mul",)): "quick_gelu",
    ("hardsigmoid", ()): "hardswish",
    ("relu6", ("add",)): "hardswish",
}


def self_gated(origins: Sequence[Origin], drafts: Sequence[Draft], count: int) -> tuple[str, Draft] | None:
    """The name of x·g(x) and the draft of g, which it replaces; None if the product is something else.

    Args:
        origins: Of the two factors.
        drafts: So far.
        count: Number of values of the product; half of a layer's output times the other half is a gate of its own.
    """
    if not drafts or drafts[-1].kind != "activation":
        return None
    gate = drafts[-1]
    for signal, other in (origins, reversed(origins)):
        ours = other.layers == (gate.position,) and gate.inputs == signal.layers and set(signal.via) <= {"mul"}
        whole = not signal.layers or drafts[signal.layers[-1]].count == count
        if ours and whole and gate.position not in signal.layers:
            name = "gelu_tanh" if gate.op == "tanh" and "pow" in gate.via else _GATES.get((gate.op, gate.via))
            return None if name is None else (name, gate)
    if gate.op == "tanh" and not gate.via and len(gate.inputs) == 1:
        before = drafts[gate.inputs[0]]
        factors = {origin.layers for origin in origins}
        if before.op == "softplus" and factors == {(gate.position,), before.inputs}:
            return "mish", gate
    return None


def written_out(op: str, origins: Sequence[Origin]) -> str | None:
    """The name of an activation that is made of x alone by operations that are no activations themselves."""
    if len({origin.layers for origin in origins}) != 1:
        return None
    if op == "div" and not origins[0].via and origins[1].via == ("abs", "add"):
        return "softsign"
    if op == "mul" and sorted("erf" in origin.via for origin in origins) == [False, True]:
        return "gelu"
    return None


def normalized(op: str, origins: Sequence[Origin], read: Sequence[torch.Tensor]) -> tuple[str, int] | None:
    """Type and unit dimension of a norm whose last operation divides by the root of a mean square; None if none.

    Args:
        op: ``mul`` or ``div``.
        origins: Of the signal and the statistic, in any order.
        read: The tensors themselves.
    """
    last = "rsqrt" if op == "mul" else "sqrt"
    for (signal, statistic), tensor, output in (
        (origins, read[1], read[0]),
        (tuple(reversed(origins)), read[0], read[1]),
    ):
        via = statistic.via
        root = via[-1:] == (last,) and ("mean" in via or any(name.startswith("var") for name in via))
        root = root or (op == "div" and any(name.startswith("std") for name in via))
        if not root or tensor.ndim != output.ndim or set(signal.via) & {"rsqrt", "sqrt"}:
            continue
        reduced = [dim for dim in range(output.ndim) if output.shape[dim] > 1 and _is_single(tensor, dim)]
        if not reduced or not set(signal.layers) & set(statistic.layers):
            continue
        return _type(reduced, output.ndim, centred="sub" in signal.via)
    return None


def distinct(tensor: torch.Tensor) -> int:
    """Number of values of a tensor, each counted once where it is expanded."""
    count = 1
    for dim, size in enumerate(tensor.shape):
        count *= 1 if _is_single(tensor, dim) else size
    return count


def _is_single(tensor: torch.Tensor, dim: int) -> bool:
    return tensor.shape[dim] == 1 or tensor.stride(dim) == 0


def _type(reduced: list[int], ndim: int, *, centred: bool) -> tuple[str, int]:
    if 0 in reduced:
        return "batch", 1 if ndim > 1 else 0
    if ndim == 4 and reduced == [2, 3]:
        return "instance", 1
    return "layer" if centred else "rms", 1 if reduced == [1] and ndim > 2 else -1
