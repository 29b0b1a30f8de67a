"""Sample inputs from a model's own signature: what its first layers would take."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from itertools import islice
from typing import Any, cast

import torch
from torch import nn

# What networks are commonly built for: CIFAR, MNIST, ImageNet, Inception; small ones first.
_SIZES = (32, 28, 64, 224, 8, 96, 128, 299, 16)
_POSITIONS = 100_000
_MODULES = 3


def sample_inputs(model: nn.Module) -> Iterator[torch.Tensor]:
    """Random inputs that the model may take, the likeliest first, drawn from a generator of their own.

    Linear layers give their ``in_features``, convolutions their channels with common image sizes, embeddings
    indices, recurrent layers their ``input_size``. The first three such layers are tried in turn, in order of
    registration, which need not be that of the calls.
    """
    seeded = torch.Generator().manual_seed(0)
    signatures = (made for made in (_shapes(module) for module in model.modules()) if made)
    for shapes, rows, dtype in islice(signatures, _MODULES):
        for shape in shapes:
            if rows:
                yield torch.randint(rows, shape, generator=seeded)
            else:
                yield torch.randn(shape, generator=seeded).to(dtype)


def required_arguments(model: nn.Module) -> tuple[str, ...]:
    """Names of the arguments without a default that the model's forward takes."""
    parameters = inspect.signature(model.forward).parameters.values()
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return tuple(p.name for p in parameters if p.default is inspect.Parameter.empty and p.kind in named)


Signature = tuple[list[tuple[int, ...]], int, torch.dtype]


def _shapes(module: nn.Module) -> Signature | None:
    """Shapes of inputs, number of rows if they are indices, and their type; None if the module has no signature."""
    weight: Any = next(module.parameters(recurse=False), None)
    if weight is None:
        return None
    if isinstance(module, nn.Linear):
        return [(16, module.in_features), (4, 8, module.in_features)], 0, weight.dtype
    if isinstance(module, nn.Embedding):
        return [(8, 16), (8,)], module.num_embeddings, torch.long
    if isinstance(module, nn.RNNBase):
        return [(8, 8, module.input_size)], 0, weight.dtype
    sizes = vars(module)
    if "in_channels" in sizes and "kernel_size" in sizes:
        dims = len(cast("tuple[int, ...]", sizes["kernel_size"]))
        fitting = [size for size in _SIZES if size**dims <= _POSITIONS]
        return [(8, sizes["in_channels"], *[size] * dims) for size in fitting], 0, weight.dtype
    return None
