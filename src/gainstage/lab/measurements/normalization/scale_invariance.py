"""One linear layer before torch's own batch norm: outputs and gradients over the scale of its weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gainstage.lab.catalogue.normalization.scale_invariance import STANDARD_EPS, ScaleDesign
from gainstage.lab.judge import Row
from gainstage.seeding import generator

LOW_PRECISION = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Pass:
    """One forward and backward pass: the output, and the gradients of u and of the weights used."""

    output: Tensor
    input_gradient: Tensor
    weight_gradient: Tensor
    alignment: Tensor


def normalized_pass(inputs: Tensor, weight: Tensor, target: Tensor, eps: float | None) -> Pass:
    """BN(Wu) under the loss ½ Σ (BN(Wu) - target)².

    Args:
        inputs, weight, target: u (batch, fan_in), W (units, fan_in) and (batch, units).
        eps: Of the normalization; None leaves the normalization out.

    Returns:
        Its ``alignment`` is the largest |⟨w, g⟩|/(‖w‖‖g‖) over the units.
    """
    u, w = inputs.clone().requires_grad_(), weight.clone().requires_grad_()
    z = u @ w.T
    output = z if eps is None else F.batch_norm(z, None, None, training=True, eps=eps)
    to_u, to_w = torch.autograd.grad(0.5 * (output - target).square().sum(), (u, w))
    # In float64, or the squares of a small weight's half-precision entries underflow.
    a, b = weight.double(), to_w.double()
    alignment = ((a * b).sum(1).abs() / (a.norm(dim=1) * b.norm(dim=1))).max()
    return Pass(output.detach(), to_u, to_w, alignment)


def measure(design: ScaleDesign, seed: int) -> list[Row]:
    """Errors over a for both ε in float64, and for half precision where the design asks for it."""
    rows = [row for eps in (design.eps, STANDARD_EPS) for row in _scan(design, seed, torch.float64, eps)]
    if design.low_precision:
        rows += [row for dtype in LOW_PRECISION for row in _scan(design, seed, dtype, STANDARD_EPS)]
    return rows


def control(design: ScaleDesign, seed: int) -> list[Row]:
    """The same errors without normalization, at every a ≠ 1."""
    return [row for row in _scan(design, seed, torch.float64, None) if row["scale"] != 1.0]


def scales(decades: int) -> list[float]:
    """Half a decade apart, both ends and 1 among them."""
    return [10.0 ** (step / 2) for step in range(-2 * decades, 2 * decades + 1)]


def _scan(design: ScaleDesign, seed: int, dtype: torch.dtype, eps: float | None) -> Iterator[Row]:
    draws = generator(seed, "scale-invariance")
    shapes = ((design.batch, design.fan_in), (design.units, design.fan_in), (design.batch, design.units))
    inputs, weight, target = (torch.randn(*shape, generator=draws, dtype=torch.float64) for shape in shapes)
    weight = weight / (inputs @ weight.T).std(0, correction=0)[:, None]
    inputs, target = inputs.to(dtype), target.to(dtype)
    reference = normalized_pass(inputs, weight.to(dtype), target, eps)
    # Half precision cannot hold weights beyond 65504 or their gradients; two decades are what it is used for.
    for a in scales(design.decades if dtype == torch.float64 else min(design.decades, 2)):
        found = normalized_pass(inputs, (a * weight).to(dtype), target, eps)
        yield {
            "dtype": str(dtype).removeprefix("torch."), "eps": eps or 0.0, "scale": a,
            "output_error": _relative(found.output, reference.output),
            "input_gradient_error": _relative(found.input_gradient, reference.input_gradient),
            "weight_gradient_error": _relative(a * found.weight_gradient.double(), reference.weight_gradient),
            "alignment": float(found.alignment),
        }  # fmt: skip


def _relative(found: Tensor, reference: Tensor) -> float:
    found, reference = found.double(), reference.double()
    return float((found - reference).norm() / reference.norm())
