"""Everything about a model, a batch and the process that a recording must leave bit for bit as it was."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules import module as module_hooks
from torch.utils import _pytree as pytree


def fingerprint(model: nn.Module, batch: Any, optimizer: torch.optim.Optimizer | None = None) -> dict[str, Any]:
    """The state, as nested plain values and copies of tensors."""
    state: dict[str, Any] = {"rng": (random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state())}
    if torch.cuda.is_available():
        state["rng cuda"] = tuple(torch.cuda.get_rng_state_all())
    state["process"] = (
        torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype(),
        str(torch.get_default_device()), torch.get_num_threads(), torch.is_autocast_enabled("cpu"),
        torch.get_autocast_dtype("cpu"), torch.backends.mha.get_fastpath_enabled(),
        torch.are_deterministic_algorithms_enabled(), torch.is_anomaly_enabled(),
        *(dict(hooks) for hooks in _global_hooks()),
    )  # fmt: skip
    for path, module in model.named_modules():
        plain = {key: value for key, value in vars(module).items() if not isinstance(value, (dict, list, set))}
        state[f"module {path}"] = (
            module.training,
            {key: value if isinstance(value, (int, bool)) else id(value) for key, value in plain.items()},
            {key: len(value) for key, value in vars(module).items() if isinstance(value, (dict, list, set))},
        )
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        grad = tensor.grad
        lazy = isinstance(tensor, (nn.UninitializedParameter, nn.UninitializedBuffer))
        state[f"tensor {name}"] = (
            id(tensor), tensor.requires_grad, "lazy" if lazy else bits(tensor), id(grad),
            None if grad is None else bits(grad), len(tensor._backward_hooks or ()),
        )  # fmt: skip
    for index, leaf in enumerate(pytree.tree_leaves(batch)):
        if isinstance(leaf, torch.Tensor):
            state[f"batch {index}"] = (id(leaf), bits(leaf), leaf.requires_grad, id(leaf.grad))
    if optimizer is not None:
        state["optimizer"] = str(optimizer.state_dict())
    return state


def _global_hooks() -> list[Any]:
    names = ("_global_forward_hooks", "_global_forward_pre_hooks", "_global_backward_hooks")
    return [getattr(module_hooks, name) for name in names]


def bits(tensor: torch.Tensor) -> Any:
    """A copy that compares equal only if every bit is: also NaN, also the sign of zero."""
    tensor = tensor.detach()
    if tensor.is_sparse:
        return bits(tensor.to_dense())
    return (
        str(tensor.dtype),
        tuple(tensor.shape),
        tensor.contiguous().resolve_conj().flatten().view(torch.uint8).clone(),
    )


def differences(before: Any, after: Any, where: str = "") -> list[str]:
    """Where two states differ; empty if nowhere."""
    if isinstance(before, torch.Tensor):
        return [] if torch.equal(before, after) else [where]
    if isinstance(before, dict):
        found = [f"{where}/{key}" for key in before.keys() ^ after.keys()]
        return found + [d for key in before.keys() & after.keys()
                        for d in differences(before[key], after[key], f"{where}/{key}")]  # fmt: skip
    if isinstance(before, (tuple, list)):
        if len(before) != len(after):
            return [where]
        return [d for i, (left, right) in enumerate(zip(before, after, strict=True))
                for d in differences(left, right, f"{where}/{i}")]  # fmt: skip
    return [] if before == after else [where]


@contextmanager
def unchanged(model: nn.Module, batch: Any, optimizer: torch.optim.Optimizer | None = None) -> Iterator[None]:
    """Fails if what runs inside leaves anything behind."""
    before = fingerprint(model, batch, optimizer)
    yield
    found = differences(before, fingerprint(model, batch, optimizer))
    assert not found, f"changed: {found[:5]}"
