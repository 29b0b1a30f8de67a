"""One picture carried up a deep plain CNN and one gradient carried down; then, where asked, training."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gainstage import theory
from gainstage.lab.apparatus.devices import device_of
from gainstage.lab.apparatus.plain_convnets import KERNELS, circular, circular_transposed, plain_cnn
from gainstage.lab.apparatus.training import final_rows
from gainstage.lab.catalogue.initialization.delta_orthogonal_depth import DeltaDesign
from gainstage.lab.judge import Row, number
from gainstage.seeding import generator
from gainstage.sweep import Spec

# Two inputs of this correlation: as different pictures of one data set are.
_CORRELATION = 0.5


def measure(design: DeltaDesign, seed: int) -> list[Row]:
    """Delta-orthogonal kernels."""
    return _rows(design, seed, "delta")


def control(design: DeltaDesign, seed: int) -> list[Row]:
    """Gaussian kernels of the same variance."""
    return _rows(design, seed, "gaussian")


class PlainStack:
    """The layers z ← W_l * tanh(z) + b_l in float64; drawn anew whenever one is needed, so none is kept."""

    def __init__(self, design: DeltaDesign, seed: int, draw: str) -> None:
        self.design, self.seed, self.draw = design, seed, draw
        self.weight_var, self.q_star = theory.critical_point(theory.activation("tanh"), design.bias_var)

    def kernel(self, layer: int) -> Tensor:
        """W_l."""
        return KERNELS[self.draw](self.design.channels, self.weight_var, self._draws("kernel", layer)).double()

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """z of each layer, the input first."""
        found = [pictures]
        for layer in range(self.design.depth):
            bias = torch.randn(self.design.channels, 1, 1, generator=self._draws("bias", layer)).double()
            found.append(circular(found[-1].tanh(), self.kernel(layer)) + math.sqrt(self.design.bias_var) * bias)
        return found

    def backward(self, before: list[Tensor], top: Tensor) -> list[Tensor]:
        """∂/∂z of each layer, the last first; ``before`` is what `forward` found."""
        found = [top]
        for layer in reversed(range(len(before) - 1)):
            found.append((1 - before[layer].tanh() ** 2) * circular_transposed(found[-1], self.kernel(layer)))
        return found

    def _draws(self, what: str, layer: int) -> torch.Generator:
        return generator(self.seed, "delta-orthogonal-depth", self.draw, what, str(layer))


def _rows(design: DeltaDesign, seed: int, draw: str) -> list[Row]:
    stack = PlainStack(design, seed, draw)
    draws = generator(seed, "delta-orthogonal-depth", draw, "ends")
    shape = (design.channels, design.size, design.size)
    one, other, top = torch.randn(3, *shape, generator=draws).double()
    second = _CORRELATION * one + math.sqrt(1 - _CORRELATION**2) * other
    both = stack.forward(math.sqrt(stack.q_star) * torch.stack([one, second]))
    signal = _logs([z[0] for z in both])
    distance = _logs([z[0] - z[1] for z in both])
    gradient = _logs(stack.backward([z[:1] for z in both], top[None]))
    figures: Row = {
        "kind": "net", "draw": draw, "weight_var": stack.weight_var,
        "signal_excursion": max(map(abs, signal)), "gradient_excursion": max(map(abs, gradient)),
        "chi": math.exp(gradient[-1] / design.depth), "distance_change": distance[-1],
    }  # fmt: skip
    if design.train_depth:
        figures["train_accuracy"] = _trained(design, seed, draw, stack.weight_var)
    step = max(1, design.depth // design.points)
    layers: list[Row] = [
        {
            "kind": "layer", "draw": draw, "layer": layer,
            "signal": math.exp(signal[layer]), "gradient": math.exp(gradient[design.depth - layer]),
        }
        for layer in range(0, design.depth + 1, step)
    ]  # fmt: skip
    return [figures, *layers]


def _logs(values: list[Tensor]) -> list[float]:
    """ln of the mean square of each, relative to the first; a square that is 0 counts as the least of float64."""
    squares = [max(float(value.square().mean()), 1e-300) for value in values]
    return [math.log(square / squares[0]) for square in squares]


def _trained(design: DeltaDesign, seed: int, draw: str, weight_var: float) -> float:
    """The training accuracy at the best rate."""
    device = device_of(design.device)
    spec = Spec(
        name="delta-orthogonal-depth", model=plain_cnn, data=design.data, axes={"lr": design.rates},
        fixed={
            "depth": design.train_depth, "channels": design.train_channels, "draw": draw,
            "weight_var": weight_var, "bias_var": design.bias_var, "seed": seed,
        },
        steps=design.train_steps, measure=(design.train_steps,), metrics=("train_accuracy",), device=device,
    )  # fmt: skip
    return max(number(row["train_accuracy"]) for row in final_rows(spec, keep=("lr",)))
