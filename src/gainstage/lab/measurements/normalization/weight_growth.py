"""Plain SGD in float64, with the length of the hidden weights and their gradients at each step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gainstage.lab.apparatus.draws import drawn
from gainstage.lab.catalogue.normalization.weight_growth import GrowthDesign
from gainstage.lab.judge import Row
from gainstage.seeding import generator, preserved_rng
from gainstage.sweep import Data
from gainstage.sweep.references import resolve

MLP = "gainstage.lab.apparatus.networks:mlp"


def measure(design: GrowthDesign, seed: int) -> list[Row]:
    """With batch norm, from each scale."""
    return [row for scale in design.scales for row in _rows(design, seed, "batch", scale, design.steps)]


def control(design: GrowthDesign, seed: int) -> list[Row]:
    """Without a norm from a = 1; at the largest scale the first gradient only, for training from there diverges."""
    first = _rows(design, seed, "none", max(design.scales), 0)
    return first + _rows(design, seed, "none", 1.0, design.steps)


class Run:
    """One network on its way.

    Args:
        design: Its numbers.
        seed: Of weights and batches, whatever the norm and the scale are.
        norm: ``batch`` or ``none``.
        scale: Of the hidden weights.
    """

    def __init__(self, design: GrowthDesign, seed: int, norm: str, scale: float) -> None:
        data = cast("Callable[[], Data]", resolve(design.data))()
        self._inputs, self._targets = data.train_inputs.double(), data.train_targets
        self._draws = generator(seed, "weight-growth", "batches")
        self._design = design
        with preserved_rng(generator(seed, "weight-growth", "weights").initial_seed()):
            model = drawn(
                MLP, "he", norm, depth=design.depth, width=design.width, inputs=self._inputs.shape[1],
                classes=int(self._targets.max()) + 1,
            )  # fmt: skip
        self._model = model.double().train()
        layers = [layer for layer in self._model.modules() if isinstance(layer, nn.Linear)]
        self.hidden = [layer.weight for layer in layers[:-1]]
        for layer in self._model.modules():
            if isinstance(layer, nn.BatchNorm1d):
                layer.eps = design.eps
        with torch.no_grad():
            for weight in self.hidden:
                weight.mul_(scale)

    def gradient(self) -> list[Tensor]:
        """Of the next batch's loss, for all parameters; kept for `step`, and the hidden weights' returned."""
        chosen = torch.randint(len(self._inputs), (self._design.batch,), generator=self._draws)
        loss = F.cross_entropy(self._model(self._inputs[chosen]), self._targets[chosen])
        self._model.zero_grad()
        loss.backward()
        return [cast("Tensor", weight.grad) for weight in self.hidden]

    @torch.no_grad()
    def step(self) -> None:
        """W ← W - η g."""
        for parameter in self._model.parameters():
            parameter.sub_(cast("Tensor", parameter.grad), alpha=self._design.lr)


def _rows(design: GrowthDesign, seed: int, norm: str, scale: float, steps: int) -> list[Row]:
    run = Run(design, seed, norm, scale)
    first = run.gradient()
    reference = Run(design, seed, norm, 1.0).gradient()
    start, alignment, added = _squares(run.hidden), 0.0, torch.zeros(len(run.hidden), dtype=torch.float64)
    points = [_point(norm, scale, 0, start, start)]
    for step in range(1, steps + 1):
        gradients = first if step == 1 else run.gradient()
        alignment = max(alignment, *(_alignment(w, g) for w, g in zip(run.hidden, gradients, strict=True)))
        added += design.lr**2 * _squares(gradients)
        run.step()
        if step % design.every == 0:
            points.append(_point(norm, scale, step, _squares(run.hidden), start))
    end = _squares(run.hidden)
    found: Row = {
        "kind": "net", "norm": norm, "scale": scale, "alignment": _finite(alignment),
        "length_error": _finite(float(((end - start - added).abs() / end).max())),
        "gradient_error": _finite(float(_gradient_errors(scale, first, reference).max())),
        "log_gradient": _finite(math.log10(float((_squares(first).sum() / _squares(reference).sum()).sqrt()))),
        "growth": _finite(float((end.sum() / start.sum()).sqrt()) - 1),
        "least_growth": _finite(float((end / start).sqrt().min()) - 1),
    }  # fmt: skip
    return [found, *points]


def _gradient_errors(scale: float, found: list[Tensor], reference: list[Tensor]) -> Tensor:
    return ((_squares(found) / _squares(reference)).sqrt() * scale - 1).abs()


def _point(norm: str, scale: float, step: int, squares: Tensor, start: Tensor) -> Row:
    growth = float((squares.sum() / start.sum()).sqrt()) - 1
    return {"kind": "step", "norm": norm, "scale": scale, "step": step, "growth": _finite(growth)}


@torch.no_grad()
def _alignment(weight: Tensor, gradient: Tensor) -> float:
    return float((weight * gradient).sum().abs() / (weight.norm() * gradient.norm()))


@torch.no_grad()
def _squares(tensors: list[Tensor] | list[nn.Parameter]) -> Tensor:
    return torch.stack([tensor.square().sum() for tensor in tensors])


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
