"""How recording grows with depth: time for each layer, beside that of a bare step, and the size of the trace.

    python benchmarks/growth.py [--depths 10 30 100 300 1000] [--repeats N]

A residual network of linear layers with layer norms, and one of convolutions with batch norms.
"""

from __future__ import annotations

import argparse

import torch
from record import bare_step, paired_ratio
from torch import nn

import gainstage as gs


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.inner, self.outer = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0.1 * self.outer(nn.functional.gelu(self.inner(self.norm(x))))


def residual(depth: int) -> tuple[nn.Module, torch.Tensor]:
    blocks = [Block(128) for _ in range(max(1, depth // 2))]
    return nn.Sequential(*blocks, nn.Linear(128, 10)), torch.randn(256, 128)


class ConvolutionalBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(width), nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0.1 * self.conv(nn.functional.relu(self.norm(x), inplace=True))


def convolutional(depth: int) -> tuple[nn.Module, torch.Tensor]:
    layers = [nn.Conv2d(3, 16, 3, padding=1), *[ConvolutionalBlock(16) for _ in range(depth)]]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)), torch.randn(32, 3, 16, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--depths", type=int, nargs="+", default=[10, 30, 100, 300, 1000])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread, median of {options.repeats} pairs")
    print(
        f"{'network':<15}{'depth':>6}{'records':>9}{'record, a layer':>18}{'bare, a layer':>16}{'ratio':>7}{'JSON':>10}"
    )
    for build in (residual, convolutional):
        for depth in options.depths:
            model, inputs = build(depth)
            targets = torch.randint(10, (inputs.shape[0],))
            subject = gs.Subject(model, (inputs, targets))
            recorded, bare, ratio = paired_ratio(
                lambda s=subject: gs.record(s),
                lambda m=model, x=inputs, t=targets: bare_step(m, x, t),
                options.repeats,
            )
            trace = gs.record(subject)
            layer, size = 1e3 / depth, len(trace.to_json())
            print(f"{build.__name__:<15}{depth:>6}{len(trace.layers):>9}{recorded * layer:>15.2f} ms"
                  f"{bare * layer:>13.2f} ms{ratio:>7.2f}{size / 1e6:>7.2f} MB", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
