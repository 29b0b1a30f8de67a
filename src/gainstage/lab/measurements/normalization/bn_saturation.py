"""Trainings by SGD, with a look at the units on a fixed set of samples now and then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gainstage.lab.apparatus.draws import drawn
from gainstage.lab.catalogue.normalization.bn_saturation import ACTIVATIONS, FLAT, SaturationDesign
from gainstage.lab.judge import Row
from gainstage.seeding import generator, preserved_rng
from gainstage.sweep import Data
from gainstage.sweep.references import resolve

MLP = "gainstage.lab.apparatus.networks:mlp"
# φ′ in terms of y = φ(z): of the sigmoid y(1 - y), of tanh 1 - y².
SLOPES: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {
    nn.Sigmoid: lambda y: y * (1 - y),
    nn.Tanh: lambda y: 1 - y.square(),
}


def measure(design: SaturationDesign, seed: int) -> list[Row]:
    """Without a norm and with batch norm, from weights times each scale."""
    return _scan(design, seed, ("none", "batch"))


def control(design: SaturationDesign, seed: int) -> list[Row]:
    """Without a norm from weights times a, and with batch norm whose γ starts at a."""
    return _scan(design, seed, ("none", "gamma"))


def made(design: SaturationDesign, seed: int, activation: str, norm: str, scale: float, data: Data) -> nn.Sequential:
    """A network; its weights before scaling depend on the seed alone.

    Args:
        design: Its size.
        seed: Of the draws.
        activation: ``sigmoid`` or ``tanh``.
        norm: ``none``; ``batch``; or ``gamma``, where the scale is that of γ and the weights are left alone.
        scale: a, of the hidden weights and the read-out.
        data: For the numbers of inputs and classes.
    """
    with preserved_rng(generator(seed, "bn-saturation", "weights").initial_seed()):
        model = drawn(
            MLP, "glorot", "none" if norm == "none" else "batch", depth=design.depth, width=design.width,
            activation=activation, inputs=data.train_inputs.shape[1], classes=int(data.train_targets.max()) + 1,
        )  # fmt: skip
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm1d if norm == "gamma" else nn.Linear):
                cast("nn.Parameter", layer.weight).mul_(scale)
    return cast("nn.Sequential", model)


def shares(model: nn.Sequential, inputs: Tensor) -> list[float]:
    """By hidden layer: the share of (unit, sample) pairs with φ′ < `FLAT`, norms by the batch's own statistics."""
    found: list[float] = []
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        h = inputs
        for layer in model.train():
            h = layer(h)
            if type(layer) in SLOPES:
                found.append(float((SLOPES[type(layer)](h) < FLAT).double().mean()))
    # A look must not move the running averages.
    model.load_state_dict(kept)
    return found


def _scan(design: SaturationDesign, seed: int, norms: tuple[str, ...]) -> list[Row]:
    data = cast("Callable[[], Data]", resolve(design.data))()
    return [
        row
        for activation in ACTIVATIONS
        for norm in norms
        for scale in design.scales
        for row in _trained(design, seed, activation, norm, scale, data)
    ]


def _trained(
    design: SaturationDesign, seed: int, activation: str, norm: str, scale: float, data: Data
) -> Iterator[Row]:
    model = made(design, seed, activation, norm, scale, data)
    optimizer = torch.optim.SGD(model.parameters(), lr=design.lr)
    draws = generator(seed, "bn-saturation", "batches")
    for step in range(design.looks[-1] + 1):
        if step in design.looks:
            accuracy = _accuracy(model, data)
            for layer, share in enumerate(shares(model, data.train_inputs[: design.samples]), start=1):
                yield {
                    "activation": activation, "norm": norm, "scale": scale, "step": step, "layer": layer,
                    "share": share, "test_accuracy": accuracy,
                }  # fmt: skip
        chosen = torch.randint(len(data.train_inputs), (design.batch,), generator=draws)
        optimizer.zero_grad()
        F.cross_entropy(model.train()(data.train_inputs[chosen]), data.train_targets[chosen]).backward()
        optimizer.step()


@torch.no_grad()
def _accuracy(model: nn.Sequential, data: Data) -> float:
    return float((model.eval()(data.test_inputs).argmax(1) == data.test_targets).double().mean())
