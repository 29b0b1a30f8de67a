"""How large a read-out's outputs should be at first, by the loss: what training makes of each level.

    python benchmarks/readout.py

Networks on scikit-learn's digits are initialized with data, their last layer's weights are multiplied with the level,
and they are trained at several learning rates by SGD with momentum and by Adam. The figure is the mean training loss
of the later two thirds of the steps, at each level's best learning rate, as a ratio to that of level 1: the geometric
mean over optimizers and networks. The level is chosen on the development networks and judged on the test networks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

import gainstage as gs

LEVELS = (2.0, 1.0, 0.5, 0.25, 0.1, 0.01)
RATES = {"sgd": (3e-3, 1e-2, 3e-2, 0.1, 0.3), "adam": (3e-4, 1e-3, 3e-3, 1e-2)}
STEPS, BURN_IN, SEEDS = 150, 50, 3


def mlp(depth: int, act: type[nn.Module], width: int = 64, *, norm: bool = False) -> nn.Module:
    widths = [64, *[width] * depth]
    blocks = [
        [nn.Linear(before, after), *([nn.BatchNorm1d(after)] if norm else []), act()]
        for before, after in itertools.pairwise(widths)
    ]
    return nn.Sequential(*itertools.chain(*blocks), nn.Linear(width, 10))


def cnn(act: type[nn.Module], *, norm: bool = False) -> nn.Module:
    layers: list[nn.Module] = [nn.Unflatten(1, (1, 8, 8))]
    for channels, wider, stride in ((1, 16, 1), (16, 32, 2), (32, 32, 1)):
        layers.append(nn.Conv2d(channels, wider, 3, stride, padding=1))
        layers += [nn.BatchNorm2d(wider), act()] if norm else [act()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 10))


DEVELOPMENT: dict[str, Callable[[], nn.Module]] = {
    "MLP 3, ReLU": lambda: mlp(3, nn.ReLU),
    "MLP 8, GELU": lambda: mlp(8, nn.GELU),
    "MLP 5, tanh": lambda: mlp(5, nn.Tanh),
    "CNN, ReLU": lambda: cnn(nn.ReLU),
}
TEST: dict[str, Callable[[], nn.Module]] = {
    "MLP 8, ReLU": lambda: mlp(8, nn.ReLU),
    "MLP 5, ReLU, BN": lambda: mlp(5, nn.ReLU, norm=True),
    "MLP 4, SiLU, 128": lambda: mlp(4, nn.SiLU, 128),
    "CNN, GELU, BN": lambda: cnn(nn.GELU, norm=True),
}


def cross_entropy(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(outputs, labels)


def binary_cross_entropy(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return F.binary_cross_entropy_with_logits(outputs, F.one_hot(labels, 10).float())


def mean_squared_error(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    # One-hot targets, standardised.
    return F.mse_loss(outputs, (F.one_hot(labels, 10).float() - 0.1) / 0.3)


LOSSES = (cross_entropy, binary_cross_entropy, mean_squared_error)


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    data, labels = load_digits(return_X_y=True)
    inputs = torch.tensor(data, dtype=torch.float32)
    return (inputs - inputs.mean(0)) / (inputs.std(0) + 1e-6), torch.tensor(labels)


def trained(make: Callable[[], nn.Module], loss: Callable[..., torch.Tensor], level: float, optimizer: str, lr: float,
            seed: int, inputs: torch.Tensor, labels: torch.Tensor) -> float:  # fmt: skip
    """The mean loss of the later steps; infinite where it is not finite."""
    model, seeded = make(), torch.Generator().manual_seed(seed)
    gs.initialize(model, inputs[:256], seed=seed)
    with torch.no_grad():
        model[-1].weight.mul_(level)
    parameters = model.parameters()
    steps = torch.optim.Adam(parameters, lr) if optimizer == "adam" else torch.optim.SGD(parameters, lr, momentum=0.9)
    total = 0.0
    for step in range(STEPS):
        rows = torch.randint(len(inputs), (64,), generator=seeded)
        value = loss(model(inputs[rows]), labels[rows])
        if not torch.isfinite(value):
            return math.inf
        steps.zero_grad()
        value.backward()
        steps.step()
        total += value.item() if step >= BURN_IN else 0.0
    return total / (STEPS - BURN_IN)


def best(make: Callable[[], nn.Module], loss: Callable[..., torch.Tensor], level: float, optimizer: str) -> float:
    data = digits()
    return min(
        sum(trained(make, loss, level, optimizer, lr, seed, *data) for seed in range(SEEDS)) / SEEDS
        for lr in RATES[optimizer]
    )


def main() -> None:
    torch.set_num_threads(1)
    for loss in LOSSES:
        print(f"\n{loss.__name__}: loss at the best learning rate, as a ratio to level 1")
        print(f"{'':<34}" + "".join(f"{level:>8}" for level in LEVELS))
        for split, networks in (("development", DEVELOPMENT), ("test", TEST)):
            logs = [0.0] * len(LEVELS)
            for (name, make), optimizer in itertools.product(networks.items(), RATES):
                losses = [best(make, loss, level, optimizer) for level in LEVELS]
                ratios = [value / losses[LEVELS.index(1.0)] for value in losses]
                logs = [log + math.log(ratio) for log, ratio in zip(logs, ratios, strict=True)]
                print(f"  {f'{name}, {optimizer}':<32}" + "".join(f"{ratio:>8.2f}" for ratio in ratios), flush=True)
            means = [math.exp(log / (len(networks) * len(RATES))) for log in logs]
            print(f"  {split + ', geometric mean':<32}" + "".join(f"{mean:>8.2f}" for mean in means), flush=True)


if __name__ == "__main__":
    main()
