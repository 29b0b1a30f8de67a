"""Networks whose batch norms are set to undo themselves, beside the same networks without."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gainstage.lab.apparatus.data import digits
from gainstage.lab.apparatus.networks import mlp
from gainstage.lab.catalogue.normalization.bn_identity import STANDARD_EPS, IdentityDesign
from gainstage.lab.judge import Row
from gainstage.seeding import generator

GAINS = {"relu": 2.0, "tanh": 1.0, "sigmoid": 1.0}


@dataclass(frozen=True)
class Pair:
    """A bare network and one with batch norms, of the same linear layers, and two batches."""

    bare: nn.Sequential
    normed: nn.Sequential
    batch: Tensor
    other: Tensor


def measure(design: IdentityDesign, seed: int) -> list[Row]:
    """Errors on the batch for three settings of γ and ε, and in evaluation mode on another batch."""
    rows: list[Row] = []
    for activation in design.activations:
        pair = made(design, activation, seed)
        for how, eps, corrected in (
            ("undone", design.eps, False), ("standard", STANDARD_EPS, False), ("corrected", STANDARD_EPS, True),
        ):  # fmt: skip
            undo(pair, eps, corrected=corrected)
            rows.append(_row(how, activation, pair, pair.batch))
        undo(pair, design.eps, corrected=False)
        pair.normed.eval()
        rows.append(_row("frozen", activation, pair, pair.other))
    return rows


def control(design: IdentityDesign, seed: int) -> list[Row]:
    """The same in training mode on another batch than the one that γ and β were taken from."""
    rows: list[Row] = []
    for activation in design.activations:
        pair = made(design, activation, seed)
        undo(pair, design.eps, corrected=False)
        rows.append(_row("other", activation, pair, pair.other))
    return rows


def made(design: IdentityDesign, activation: str, seed: int) -> Pair:
    """Two networks of the same weights and biases, and two batches without common samples."""
    draws = generator(seed, "bn-identity", activation)
    bare, normed = (mlp(design.depth, design.width, activation, norm).double() for norm in ("none", "batch"))
    with torch.no_grad():
        for one, two in zip(_linear(bare), _linear(normed), strict=True):
            deviation = (GAINS[activation] / one.in_features) ** 0.5
            for own, other in ((one.weight, two.weight), (one.bias, two.bias)):
                own.copy_(deviation * torch.randn(own.shape, generator=draws, dtype=torch.float64))
                other.copy_(own)
    inputs = digits().train_inputs.double()
    chosen = torch.randperm(len(inputs), generator=draws)[: 2 * design.batch]
    return Pair(bare, normed.train(), inputs[chosen[: design.batch]], inputs[chosen[design.batch :]])


@torch.no_grad()
def undo(pair: Pair, eps: float, *, corrected: bool) -> None:
    """Sets γ = σ and β = μ of the bare network's preactivations on the batch, and the running averages too.

    Args:
        pair: Its second network is changed.
        eps: Of all its norms.
        corrected: γ = √(σ² + ε) instead.
    """
    pair.normed.train()
    norms = [layer for layer in pair.normed if isinstance(layer, nn.BatchNorm1d)]
    h, place = pair.batch, 0
    for layer in pair.bare:
        h = layer(h)
        if isinstance(layer, nn.Linear) and place < len(norms):
            mean, variance = h.mean(0), h.var(0, correction=0)
            norm = norms[place]
            norm.eps, norm.momentum, place = eps, 0.0, place + 1
            norm.weight.copy_((variance + eps if corrected else variance).sqrt())
            norm.bias.copy_(mean)
            norm.running_mean, norm.running_var = mean.clone(), variance.clone()


@torch.no_grad()
def _row(how: str, activation: str, pair: Pair, inputs: Tensor) -> Row:
    found, expected = pair.normed(inputs), pair.bare(inputs)
    # Beside how the outputs differ from sample to sample: a deep sigmoid network's are nearly the same for all.
    error = float((found - expected).abs().max() / (expected - expected.mean(0)).abs().max())
    return {"how": how, "activation": activation, "error": error}


def _linear(model: nn.Sequential) -> list[nn.Linear]:
    return [layer for layer in model if isinstance(layer, nn.Linear)]
