"""Where a network first leaves the range of its numbers, and at which scale of its weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gainstage.seeding import generator, preserved_rng
from gainstage.sweep.references import resolve

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True)
class Overflow:
    """The first value that is not finite.

    Attributes:
        op: Where: ``weight`` (as cast), ``product`` of a linear map or convolution, ``norm``, ``other``, ``gradient``
            of any parameter.
        product: The number of the linear map at or before it, from 1.
        nan, inf: How many values are not a number, or infinite.
    """

    op: str
    product: int
    nan: int
    inf: int


def he_network(factory: Callable[..., nn.Module], seed: int, **options: object) -> nn.Module:
    """A network of the factory, every map with He's normal weights; the same ones whatever stands between the maps."""
    with preserved_rng(seed):
        model = factory(**options)
    for index, weight in enumerate(_weights(model)):
        nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=generator(seed, "he", str(index)))
    return model


def scaled(model: nn.Module, factor: float) -> nn.Module:
    """The same network with the weights of its maps multiplied, in place."""
    with torch.no_grad():
        for weight in _weights(model):
            weight.mul_(factor)
    return model


def drawn_batch(data: str, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Training samples of the data that a reference names, drawn without replacement."""
    # Importing where data come from may draw from python's generator.
    with preserved_rng(0):
        found = resolve(data)()
    chosen = torch.randperm(found.samples, generator=generator(seed, "overflow", "batch"))[:size]
    return found.train_inputs[chosen], found.train_targets[chosen]


def first_overflow(
    parts: Sequence[nn.Module], inputs: Tensor, targets: Tensor | None, *, dtype: torch.dtype, autocast: bool
) -> Overflow | None:
    """The first value that is not finite, in the order in which a training step computes them.

    Args:
        parts: Layers that are called one after the other, with weights in float32; these are cast in place.
        inputs: A batch.
        targets: Classes, to compute gradients of the cross-entropy too; None: the forward pass alone.
        dtype: Of the products.
        autocast: Under `torch.autocast`, which casts for each operation; else weights and inputs are cast
            beforehand, and norms keep their own numbers in float32, as is usual.

    Returns:
        None if everything is finite.
    """
    values, product, step = inputs if autocast else inputs.to(dtype), 0, _Step(dtype, autocast, inputs.device)
    for part in parts:
        kind = _kind(part)
        product += kind == "product"
        if not autocast:
            part.to(torch.float32 if kind == "norm" else dtype)
            if found := _judged("weight", product, part.parameters()):
                return found
        with step.context():
            values = part(values)
        if found := _judged(kind, product, [values]):
            return found
    if targets is None:
        return None
    F.cross_entropy(values.float(), targets).backward()
    gradients = (weight.grad for part in parts for weight in part.parameters() if weight.grad is not None)
    return _judged("gradient", product, gradients)


@dataclass(frozen=True)
class _Step:
    dtype: torch.dtype
    autocast: bool
    device: torch.device

    def context(self) -> AbstractContextManager[object]:
        enabled = self.autocast and self.dtype != torch.float32
        return torch.autocast(self.device.type, dtype=self.dtype) if enabled else nullcontext()


def scales(decades: float, per_decade: int) -> list[float]:
    """From 1 upwards, evenly on a logarithmic axis."""
    return [10 ** (step / per_decade) for step in range(round(decades * per_decade) + 1)]


def beyond(grid: Sequence[float]) -> float:
    """The next point of such a grid: what stands for a threshold that the grid does not reach."""
    return grid[-1] ** 2 / grid[-2]


def log_ratio(first: float, second: float) -> float:
    """In decades."""
    return math.log10(first / second)


def _kind(part: nn.Module) -> str:
    weight = getattr(part, "weight", None)
    return "other" if not isinstance(weight, Tensor) else ("product" if weight.dim() > 1 else "norm")


def _weights(model: nn.Module) -> Iterator[Tensor]:
    return (parameter for parameter in model.parameters() if parameter.dim() > 1)


def _judged(
    op: str, product: int, tensors: Iterator[nn.Parameter] | Iterator[Tensor] | list[Tensor]
) -> Overflow | None:
    nan = inf = 0
    for tensor in tensors:
        if not bool(tensor.isfinite().all()):
            nan, inf = nan + int(tensor.isnan().sum()), inf + int(tensor.isinf().sum())
    return Overflow(op, product, nan, inf) if nan + inf else None
