"""What the scale of weights before norms does to training: the limits of NRM006 stand on it.

    python benchmarks/norm_scale.py [--split dev|test] [--output FILE]

Each row is a network whose weights before norms are multiplied by a factor, with what an optimizer made of it in 300
steps. The two tasks are digits, and classes that a fixed random network gives to 5 of 30 inputs, for which features
have to be learned. The test split has other networks, norms and activations, and labels of another random network.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
import sys
from collections.abc import Callable, Iterator

import torch
from calibrate import digits
from torch import nn

STEPS, BATCH, TRAINED = 300, 64, 1400
FACTORS = (1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 1e3, 1e4)
Data = tuple[torch.Tensor, torch.Tensor]
Optimizer = Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer]
OPTIMIZERS: dict[str, Optimizer] = {
    "sgd .05 momentum .9": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "sgd .1 decay 5e-4": lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=5e-4),
    "adam 1e-3": lambda p: torch.optim.Adam(p, lr=1e-3),
    "adamw 1e-2 decay .1": lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.1),
}


def teacher(seed: int) -> Data:
    """3400 samples of 30 inputs; the class is what a random tanh network makes of the first 5."""
    draws = torch.Generator().manual_seed(seed)
    x = torch.randn(3400, 30, generator=draws)
    first, second = torch.randn(5, 40, generator=draws), torch.randn(40, 4, generator=draws)
    logits = torch.tanh(x[:, :5] @ first * 0.7) @ second
    return x, (logits - logits.mean(0)).argmax(1)


def mlp(
    inputs: int, classes: int, depth: int, width: int, norm: Callable[[int], nn.Module], act: type[nn.Module]
) -> nn.Module:
    sizes = [inputs] + [width] * depth
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out, bias=False), norm(fan_out), act()]
    return nn.Sequential(*layers, nn.Linear(width, classes))


def cnn(depth: int, width: int, norm: Callable[[int], nn.Module], act: type[nn.Module]) -> nn.Module:
    layers: list[nn.Module] = [nn.Unflatten(1, (1, 8, 8))]
    for fan_in, fan_out in itertools.pairwise([1] + [width] * depth):
        layers += [nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=False), norm(fan_out), act()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, 10))


def groups(width: int) -> nn.Module:
    return nn.GroupNorm(8, width)


def networks(split: str) -> dict[str, tuple[Callable[[], nn.Module], Data]]:
    """Name to factory and data."""
    if split == "dev":
        return {
            "mlp 3, digits": (lambda: mlp(64, 10, 3, 64, nn.BatchNorm1d, nn.ReLU), digits()),
            "mlp 3, teacher": (lambda: mlp(30, 4, 3, 64, nn.BatchNorm1d, nn.ReLU), teacher(1)),
            "mlp 8, teacher": (lambda: mlp(30, 4, 8, 64, nn.BatchNorm1d, nn.ReLU), teacher(1)),
            "cnn 4, digits": (lambda: cnn(4, 12, nn.BatchNorm2d, nn.ReLU), digits()),
        }
    return {
        "mlp 5, teacher, gelu": (lambda: mlp(30, 4, 5, 128, nn.BatchNorm1d, nn.GELU), teacher(2)),
        "mlp 4, teacher, layer norm": (lambda: mlp(30, 4, 4, 96, nn.LayerNorm, nn.ReLU), teacher(3)),
        "cnn 3, digits, group norm": (lambda: cnn(3, 16, groups, nn.SiLU), digits()),
    }


def scaled(model: nn.Module, factor: float) -> nn.Module:
    """The model with LeCun's weights, those before norms times the factor."""
    modules = list(model.modules())
    for module, behind in itertools.pairwise([*modules, nn.Identity()]):
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            fan_in = module.weight[0].numel()
            before_norm = isinstance(behind, (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm))
            nn.init.normal_(module.weight, std=(factor if before_norm else 1.0) / math.sqrt(fan_in))
    return model


def trained(model: nn.Module, data: Data, build: Optimizer) -> tuple[float, float]:
    """Loss over the last 30 steps, and accuracy in training mode on what was kept back."""
    (x, y), optimizer, losses = data, build(model.parameters()), []
    kept = TRAINED if len(x) < 2000 else 3000
    for _ in range(STEPS):
        index = torch.randint(kept, (BATCH,))
        loss = nn.functional.cross_entropy(model(x[index]), y[index])
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            return math.inf, 0.0
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        accuracy = float((model(x[kept:]).argmax(1) == y[kept:]).float().mean())
    return sum(losses[-30:]) / 30, accuracy


def first_ratio(model: nn.Module, data: Data, build: Optimizer) -> tuple[float, float]:
    """Least and most of rms(update)/rms(weight) among the weights before norms, of the first step."""
    x, y = data
    optimizer = build(model.parameters())
    weights = [p for p in model.parameters() if p.ndim > 1][:-1]
    before = [w.detach().clone() for w in weights]
    nn.functional.cross_entropy(model(x[:BATCH]), y[:BATCH]).backward()
    optimizer.step()
    ratios = [float((w.detach() - b).norm() / b.norm()) for w, b in zip(weights, before, strict=True)]
    return min(ratios), max(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    parser.add_argument("--output", default="")
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with open(options.output, "w", newline="") if options.output else sys.stdout as file:
        fields = ("network", "optimizer", "factor", "ratio_least", "ratio_most", "loss", "accuracy")
        writer = csv.writer(file)
        writer.writerow(fields)
        for (name, (build, data)), factor in itertools.product(networks(options.split).items(), FACTORS):
            for label, optimizer in OPTIMIZERS.items():
                torch.manual_seed(0)
                ratios = first_ratio(scaled(build(), factor), data, optimizer)
                runs: list[tuple[float, float]] = []
                for seed in range(options.seeds):
                    torch.manual_seed(seed)
                    runs.append(trained(scaled(build(), factor), data, optimizer))
                means = [sum(values) / len(runs) for values in zip(*runs, strict=True)]
                writer.writerow([name, label, factor, *(f"{value:.3g}" for value in (*ratios, *means))])
                file.flush()


if __name__ == "__main__":
    main()
