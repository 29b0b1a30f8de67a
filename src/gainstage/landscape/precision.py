"""In which type of numbers a probe computes, and bringing a model and a batch to it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from gainstage.errors import InputError

_HALVES = (torch.float16, torch.bfloat16)
_TYPES = (torch.float64, torch.float32, *_HALVES)


def working_dtype(model: nn.Module, dtype: torch.dtype | None) -> torch.dtype | None:
    """The type to compute in: what was asked for, else float32 for a model in half precision.

    What a probe is after, differences of gradients and sums of many, is lost in three digits.

    Args:
        model: Whose parameters are looked at.
        dtype: What was asked for.

    Returns:
        None to leave everything as it is.
    """
    if dtype is None and any(parameter.dtype in _HALVES for parameter in model.parameters()):
        return torch.float32
    return dtype


def cast_model_(model: nn.Module, dtype: torch.dtype) -> None:
    """Brings parameters and buffers to a type: real ones to it, complex ones to the complex type of two such parts.

    Raises:
        InputError: if it is no real floating type.
    """
    if dtype not in _TYPES:
        raise InputError(f"landscape: dtype must be one of {', '.join(map(str, _TYPES))}, got {dtype}. Leave it out.")
    # `Module.to(dtype)` takes the imaginary part from complex tensors; these four pass them over.
    casts = dict(zip(_TYPES, (model.double, model.float, model.half, model.bfloat16), strict=True))
    casts[dtype]()
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = _cast(tensor.data, dtype)


def cast_batch(batch: Any, dtype: torch.dtype) -> Any:
    """The batch with its floating tensors in a type, its complex ones likewise."""
    plain = dict(batch) if hasattr(batch, "keys") else batch
    return pytree.tree_map_only(torch.Tensor, lambda tensor: _cast(tensor, dtype), plain)


def _cast(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if tensor.is_complex():
        return tensor.to(dtype.to_complex())
    return tensor.to(dtype) if tensor.is_floating_point() else tensor
