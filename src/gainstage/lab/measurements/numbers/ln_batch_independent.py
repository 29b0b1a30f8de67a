"""One sample's output, and its gradient, with different samples beside it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gainstage.lab.apparatus.networks import mlp
from gainstage.lab.catalogue.numbers.ln_batch_independent import CHANGES, BatchmatesDesign
from gainstage.lab.judge import Row
from gainstage.seeding import generator, preserved_rng

_CLASSES = 10


def measure(design: BatchmatesDesign, seed: int) -> list[Row]:
    """Both norms in training mode, for each batch size and each change of the batch."""
    return [row for norm in ("layer", "batch") for row in _rows(design, seed, network(design, seed, norm))]


def control(design: BatchmatesDesign, seed: int) -> list[Row]:
    """Batch norm in evaluation mode, with statistics of one batch that is none of those compared."""
    model = network(design, seed, "batch")
    model(_normal(design, seed, max(design.batches), "statistics"))
    return _rows(design, seed, model.eval())


def network(design: BatchmatesDesign, seed: int, norm: str) -> nn.Sequential:
    """Untrained, in float64, in training mode."""
    with preserved_rng(seed):
        return mlp(design.depth, design.width, "relu", norm, inputs=design.width, classes=_CLASSES).double()


def changed(batch: Tensor, others: Tensor, change: str) -> Tensor:
    """The batch with the same first sample and different ones beside it."""
    if change == "mates":
        return torch.cat([batch[:1], others[1:]])
    if change == "fewer":
        return batch[: len(batch) // 2]
    return torch.cat([batch[:1], 100 * batch[1:2], batch[2:]])


def _rows(design: BatchmatesDesign, seed: int, model: nn.Sequential) -> list[Row]:
    norm = "batch" if any(isinstance(layer, nn.BatchNorm1d) for layer in model) else "layer"
    found: list[Row] = []
    for size in design.batches:
        batch, others = (_normal(design, seed, size, name) for name in ("batch", "others"))
        output, leak = _output(model, batch)
        for change in CHANGES:
            other, _ = _output(model, changed(batch, others, change))
            moved = float((other - output).norm() / output.norm())
            found.append({"norm": norm, "batch": size, "change": change, "output_change": moved, "leak": leak})
    return found


def _output(model: nn.Module, batch: Tensor) -> tuple[Tensor, float]:
    """The first sample's output, and how much of the gradient of its norm falls on the other samples."""
    inputs = batch.clone().requires_grad_()
    output = model(inputs)[0]
    (gradient,) = torch.autograd.grad(output.square().sum(), inputs)
    return output.detach(), float(gradient[1:].norm() / gradient.norm())


def _normal(design: BatchmatesDesign, seed: int, size: int, name: str) -> Tensor:
    draws = generator(seed, "ln-batch-independent", name, str(size))
    return torch.randn(size, design.width, generator=draws, dtype=torch.float64)
