"""How deep batch norm without skips may be: the limits of NRM012 stand on it.

    python benchmarks/norm_depth.py [--split dev|test] [--output FILE] [--steps N]

Each row is a plain network with batch norm before each activation: how its gradient grows at the start, as measured and
as theory predicts, and the accuracy that the better of two optimizers reached on digits, beside that of its twin, which
has a skip around every layer.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
import sys
from collections.abc import Callable

import torch
from calibrate import ACTIVATIONS, digits
from torch import nn

import gainstage as gs
from gainstage.rules import norm_depth, signal

OPTIMIZERS = {"adam 1e-3": (torch.optim.Adam, 1e-3), "sgd .05": (torch.optim.SGD, 0.05)}
BATCH = 64


class Layer(nn.Module):
    """A map, batch norm and an activation, with a skip around them on request."""

    def __init__(self, map_: nn.Module, norm: nn.Module, activation: nn.Module, *, skip: bool) -> None:
        super().__init__()
        self.map, self.norm, self.activation, self.skip = map_, norm, activation, skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.activation(self.norm(self.map(x)))
        return x + y if self.skip and x.shape == y.shape else y


def network(kind: str, depth: int, width: int, activation: str, *, skip: bool) -> nn.Module:
    """``depth`` layers and a read-out."""
    layers: list[nn.Module] = [nn.Unflatten(1, (1, 8, 8))] if kind == "cnn" else []
    sizes = [1 if kind == "cnn" else 64] + [width] * depth
    for fan_in, fan_out in itertools.pairwise(sizes):
        conv = nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=False) if kind == "cnn" else None
        norm = nn.BatchNorm1d(fan_out) if conv is None else nn.BatchNorm2d(fan_out)
        act = ACTIVATIONS[activation]()
        layers.append(Layer(conv or nn.Linear(fan_in, fan_out, bias=False), norm, act, skip=skip))
    pool = [nn.AdaptiveAvgPool2d(2), nn.Flatten()] if kind == "cnn" else []
    return nn.Sequential(*layers, *pool, nn.Linear(4 * width if pool else width, 10))


def accuracy(build: Callable[[], nn.Module], optimizer: str, seed: int, steps: int) -> float:
    """In training mode, on the digits that were kept back."""
    (x, y), (kind, rate) = digits(), OPTIMIZERS[optimizer]
    torch.manual_seed(seed)
    model = build()
    optim = kind(model.parameters(), lr=rate)
    for _ in range(steps):
        index = torch.randint(1400, (BATCH,))
        optim.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(model(x[index]), y[index]).backward()
        optim.step()
    with torch.no_grad():
        return float((model(x[1400:]).argmax(1) == y[1400:]).float().mean())


def cases(split: str) -> list[tuple[str, int, int, str]]:
    """Kind, depth, width and activation."""
    if split == "dev":
        found = [("mlp", depth, 64, "relu") for depth in (8, 14, 18, 21, 24, 27, 30, 36, 45)]
        return found + [("mlp", depth, 64, act) for act in ("tanh", "gelu") for depth in (14, 24, 36, 50)]
    found = [("mlp", depth, 128, act) for act in ("relu", "silu") for depth in (16, 25, 32, 42)]
    return found + [("cnn", depth, 12, "relu") for depth in (14, 24, 34)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    parser.add_argument("--output", default="")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    x, y = digits()
    with open(options.output, "w", newline="") if options.output else sys.stdout as file:
        writer = csv.writer(file)
        writer.writerow(("kind", "depth", "width", "activation", "measured", "predicted", "accuracy", "twin"))
        for kind, depth, width, activation in cases(options.split):

            def best(skip: bool) -> float:
                build = lambda: network(kind, depth, width, activation, skip=skip)  # noqa: B023, E731
                runs = {name: [accuracy(build, name, seed, options.steps) for seed in range(options.seeds)]
                        for name in OPTIMIZERS}  # fmt: skip
                return max(sum(values) / len(values) for values in runs.values())

            torch.manual_seed(100)
            trace = gs.record(network(kind, depth, width, activation, skip=False), (x[:128], y[:128]))
            measured, predicted = signal.gradient_change(trace) or math.nan, norm_depth.predicted_growth(trace)
            found = (f"{value:.3f}" for value in (measured, predicted, best(False), best(True)))
            writer.writerow([kind, depth, width, activation, *found])
            file.flush()


if __name__ == "__main__":
    main()
