"""What recording costs: `gs.record` against a bare forward and backward pass, in one run, as ratios.

    python benchmarks/record.py [--repeats N]

Both are timed in turn, pair by pair, so that a machine whose speed drifts slows both alike. Beside them stands
the common alternative: forward hooks that take mean and std of every module's output.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

import gainstage as gs


def mlp() -> tuple[nn.Module, torch.Tensor]:
    layers: list[nn.Module] = []
    for _ in range(8):
        layers += [nn.Linear(256, 256), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(256, 10)), torch.randn(128, 256)


def cnn() -> tuple[nn.Module, torch.Tensor]:
    layers: list[nn.Module] = []
    for width_in, width in ((3, 32), (32, 32), (32, 64), (64, 64)):
        layers += [nn.Conv2d(width_in, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        layers += [nn.MaxPool2d(2)] if width_in != width else []
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)), torch.randn(32, 3, 32, 32)


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(128, 4, 256, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
        self.head = nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(x).mean(1))


def transformer() -> tuple[nn.Module, torch.Tensor]:
    return Transformer(), torch.randn(16, 32, 128)


def bare_step(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> None:
    model.zero_grad()
    nn.functional.cross_entropy(model(inputs), targets).backward()


def hooked_step(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> None:
    rows: list[tuple[float, float]] = []

    def reduce(_module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, torch.Tensor):
            rows.append((float(output.detach().mean()), float(output.detach().std())))

    handles = [module.register_forward_hook(reduce) for module in model.modules()]
    bare_step(model, inputs, targets)
    for handle in handles:
        handle.remove()


def paired_times(one: Callable[[], None], other: Callable[[], None], repeats: int) -> list[tuple[float, float]]:
    """Seconds of both, pair by pair, after one pair for warming up."""
    one(), other()
    pairs: list[tuple[float, float]] = []
    for _ in range(repeats):
        start = time.perf_counter()
        one()
        middle = time.perf_counter()
        other()
        pairs.append((middle - start, time.perf_counter() - middle))
    return pairs


def paired_ratio(one: Callable[[], None], other: Callable[[], None], repeats: int) -> tuple[float, float, float]:
    """Median seconds of both, and the median of the ratios one / other, pair by pair."""
    pairs = paired_times(one, other, repeats)
    first, second = (statistics.median(times) for times in zip(*pairs, strict=True))
    return first, second, statistics.median(a / b for a, b in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repeats", type=int, default=25)
    repeats = parser.parse_args().repeats
    torch.manual_seed(0)
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread, median of {repeats} pairs")
    print(f"{'network':<14}{'bare step':>12}{'record':>12}{'ratio':>8}{'naive hooks':>14}")
    for build in (mlp, cnn, transformer):
        model, inputs = build()
        targets = torch.randint(10, (inputs.shape[0],))
        subject = gs.Subject(model, (inputs, targets))
        recorded, bare, ratio = paired_ratio(
            lambda s=subject: gs.record(s),
            lambda m=model, x=inputs, t=targets: bare_step(m, x, t),
            repeats,
        )
        _, _, hooks = paired_ratio(
            lambda m=model, x=inputs, t=targets: hooked_step(m, x, t),
            lambda m=model, x=inputs, t=targets: bare_step(m, x, t),
            repeats,
        )
        print(f"{build.__name__:<14}{bare * 1e3:>9.1f} ms{recorded * 1e3:>9.1f} ms{ratio:>8.2f}{hooks:>14.2f}")


if __name__ == "__main__":
    main()
