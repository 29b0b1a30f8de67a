"""Where signal and gradient levels begin to keep a network from training: what the rules' thresholds stand on.

    python benchmarks/calibrate.py [--split dev|test] [--output docs/thresholds-dev.csv]

Each row is a network with its levels at the start, as the rules measure them, and the accuracy that the best of
several optimizers reached, averaged over seeds. The development split has multi-layer perceptrons; the test
split, which no threshold is chosen on, other widths, other activations and convolutions.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
import sys
from collections.abc import Callable, Iterator

import torch
from sklearn.datasets import load_digits
from torch import nn

import gainstage as gs
from gainstage.rules import signal
from gainstage.rules.weight_scales import accumulated_mismatch

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "gelu": nn.GELU, "elu": nn.ELU, "silu": nn.SiLU,
}  # fmt: skip
OPTIMIZERS = {
    "adam 1e-3": (torch.optim.Adam, 1e-3),
    "sgd .05": (torch.optim.SGD, 0.05),
    "adam 1e-4": (torch.optim.Adam, 1e-4),
}
STEPS, BATCH = 200, 64


def digits(scale: float = 1.0, offset: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = load_digits(return_X_y=True)
    x = torch.tensor(x, dtype=torch.float32)
    x = (x - x.mean(0)) / (x.std(0) + 1e-6) * scale + offset
    return x, torch.tensor(y)


def mlp(depth: int, width: int, activation: str, gain: float) -> nn.Module:
    """``depth`` hidden layers of standard deviation gain/√fan_in, a LeCun read-out."""
    sizes = [64] + [width] * depth
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        linear = nn.Linear(fan_in, fan_out)
        nn.init.normal_(linear.weight, std=gain / math.sqrt(fan_in))
        nn.init.zeros_(linear.bias)
        layers += [linear, ACTIVATIONS[activation]()]
    head = nn.Linear(width, 10)
    nn.init.normal_(head.weight, std=1 / math.sqrt(width))
    return nn.Sequential(*layers, head)


def cnn(depth: int, width: int, activation: str, gain: float) -> nn.Module:
    layers: list[nn.Module] = [nn.Unflatten(1, (1, 8, 8))]
    for fan_in, fan_out in itertools.pairwise([1] + [width] * depth):
        conv = nn.Conv2d(fan_in, fan_out, 3, padding=1)
        nn.init.normal_(conv.weight, std=gain / math.sqrt(9 * fan_in))
        nn.init.zeros_(conv.bias)
        layers += [conv, ACTIVATIONS[activation]()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, 10))


Case = tuple[str, Callable[[], nn.Module], float, float, dict[str, object]]


def cases(split: str) -> Iterator[Case]:
    """Name, factory, input scale and offset, and the description of each network."""
    if split == "dev":
        grid = itertools.product(
            (2, 4, 8, 14, 22, 30), ("relu", "tanh", "sigmoid", "gelu"), (0.3, 0.58, 0.8, 1.0, 1.41, 1.8, 2.5)
        )
        for depth, activation, gain in grid:
            note: dict[str, object] = {
                "net": "mlp",
                "depth": depth,
                "width": 64,
                "activation": activation,
                "gain": gain,
            }
            yield "mlp", (lambda d=depth, a=activation, g=gain: mlp(d, 64, a, g)), 1.0, 0.0, note
        scales = (
            (0.001, 0.0),
            (0.01, 0.0),
            (0.1, 0.0),
            (1.0, 0.0),
            (10.0, 0.0),
            (100.0, 0.0),
            (1000.0, 0.0),
            (1.0, 3.0),
            (1.0, 10.0),
            (1.0, 100.0),
        )
        for (scale, offset), activation in itertools.product(scales, ("relu", "tanh")):
            note = {"net": "mlp", "depth": 3, "width": 64, "activation": activation, "gain": 1.0}
            yield "mlp", (lambda a=activation: mlp(3, 64, a, 1.41 if a == "relu" else 1.0)), scale, offset, note
        return
    grid = itertools.product((3, 6, 11, 18, 26), ("relu", "elu", "silu", "tanh"), (0.4, 0.65, 1.0, 1.41, 2.2))
    for depth, activation, gain in grid:
        note = {"net": "mlp", "depth": depth, "width": 128, "activation": activation, "gain": gain}
        yield "mlp", (lambda d=depth, a=activation, g=gain: mlp(d, 128, a, g)), 1.0, 0.0, note
    for depth, activation, gain in itertools.product((3, 8, 14), ("relu", "tanh"), (0.5, 1.0, 1.41, 2.0)):
        note = {"net": "cnn", "depth": depth, "width": 16, "activation": activation, "gain": gain}
        yield "cnn", (lambda d=depth, a=activation, g=gain: cnn(d, 16, a, g)), 1.0, 0.0, note


def accuracy(build: Callable[[], nn.Module], x: torch.Tensor, y: torch.Tensor, optimizer: str, seed: int) -> float:
    torch.manual_seed(seed)
    model = build()
    kind, lr = OPTIMIZERS[optimizer]
    optim = kind(model.parameters(), lr=lr)
    for _ in range(STEPS):
        index = torch.randint(1400, (BATCH,))
        loss = nn.functional.cross_entropy(model(x[index]), y[index])
        if not torch.isfinite(loss):
            break
        optim.zero_grad(set_to_none=True)
        loss.backward()
        optim.step()
    with torch.no_grad():
        return float((model(x[1400:]).argmax(1) == y[1400:]).float().mean())


def row(case: Case, seeds: int) -> dict[str, object]:
    _, build, scale, offset, note = case
    x, y = digits(scale, offset)
    torch.manual_seed(100)
    trace = gs.record(build(), (x[:128], y[:128]))
    changes = [change for segment in signal.segments(trace) if (change := segment.change()) is not None]
    best = max(sum(accuracy(build, x, y, name, seed) for seed in range(seeds)) / seeds for name in OPTIMIZERS)
    return {
        **note, "input_scale": scale, "input_offset": offset,
        "forward": max(changes, key=abs, default=0.0),
        "backward": signal.gradient_change(trace), "mismatch": accumulated_mismatch(trace), "loss": trace.loss,
        "saturated": max((layer.saturated_fraction or 0.0 for layer in trace.layers), default=0.0),
        "dead": max((layer.dead_fraction or 0.0 for layer in trace.layers), default=0.0), "accuracy": round(best, 4),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    parser.add_argument("--output", default="")
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with open(options.output, "w", newline="") if options.output else sys.stdout as file:
        writer: csv.DictWriter[str] | None = None
        for case in cases(options.split):
            entry = row(case, options.seeds)
            if writer is None:
                writer = csv.DictWriter(file, fieldnames=list(entry))
                writer.writeheader()
            writer.writerow(entry)
            file.flush()


if __name__ == "__main__":
    main()
