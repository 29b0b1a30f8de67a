"""What each norm layer costs: forward and backward against torch's BatchNorm2d, in one run, as ratios.

    python benchmarks/norm_layers.py [--shape N C H W] [--repeats N] [--threads N] [--layers NAME ...]

Both are timed in turn, pair by pair, in training mode; each takes the same input and gives a gradient for it and for
its parameters. A ratio of 1 is the price of batch norm. A reparametrization is timed as the step of a 3x3 convolution
that has it, against the plain one.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import torch
from record import paired_times
from torch import nn

from gainstage.norm.layers import LAYERS, PARAMETRIZATIONS

TORCHS: dict[str, Callable[[int], nn.Module]] = {
    "torch GroupNorm(32)": lambda channels: nn.GroupNorm(min(32, channels), channels),
    "torch InstanceNorm2d": lambda channels: nn.InstanceNorm2d(channels, affine=True),
}


def step(module: nn.Module, x: torch.Tensor, grad: torch.Tensor) -> Callable[[], None]:
    def run() -> None:
        module.zero_grad()
        x.grad = None
        module(x).backward(grad)

    return run


def compare(one: nn.Module, other: nn.Module, x: torch.Tensor, repeats: int) -> str:
    with torch.no_grad():
        grad = torch.randn_like(other(x))
    pairs = paired_times(step(one, x, grad), step(other, x, grad), repeats)
    first, second = (statistics.median(times) * 1e3 for times in zip(*pairs, strict=True))
    ratios = sorted(a / b for a, b in pairs)
    spread = f"{ratios[len(ratios) // 4]:.2f} to {ratios[-1 - len(ratios) // 4]:.2f}"
    return f"{first:>9.2f} ms{second:>9.2f} ms{statistics.median(ratios):>8.2f}   {spread}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--shape", type=int, nargs=4, default=[32, 64, 32, 32])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--layers", nargs="+", default=[*LAYERS, *TORCHS, *PARAMETRIZATIONS])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    x, channels = torch.randn(options.shape, requires_grad=True), options.shape[1]

    shape = "x".join(map(str, options.shape))
    print(f"torch {torch.__version__}, {shape}, {options.threads} thread(s), median of {options.repeats} pairs")
    print(f"{'layer':<32}{'layer':>9}   {'beside':>9}   {'ratio':>8}   middle half")
    for name in options.layers:
        if name in PARAMETRIZATIONS:
            plain, other = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
            figures = compare(PARAMETRIZATIONS[name](other), plain, x, max(3, options.repeats // 3))
        else:
            build = TORCHS.get(name) or LAYERS[name]
            figures = compare(build(channels), nn.BatchNorm2d(channels), x, options.repeats)
        print(f"{name:<32}{figures}", flush=True)


if __name__ == "__main__":
    main()
