"""What local batches and padding cost batch norm: the limits of NRM011 and NRM014 stand on it.

    python benchmarks/norm_batches.py local|flat|late|padding [--split dev|test] [--seeds N]

``local``: convolutional networks on digits at one global batch, whose batch norms see the parts of so many processes
each by themselves, in eval mode; the twin sees the whole. ``flat``: perceptrons, which have one value for each sample.
``late``: residual networks that halve the image until one position is left, so that the last stage alone has so few.
``padding``: networks that find a motif in sequences of many lengths, whose batch norms take padding in; the twin's do
not.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable

import torch
from calibrate import digits
from torch import nn

from gainstage.norm.layers import GhostBatchNorm

Norm = Callable[[int], nn.Module]


def network(depth: int, width: int, norm: Norm, activation: type[nn.Module]) -> nn.Module:
    """Convolutions on digits, at half the size from the second on."""
    layers: list[nn.Module] = [nn.Unflatten(1, (1, 8, 8))]
    for position, (fan_in, fan_out) in enumerate(itertools.pairwise([1] + [width] * depth)):
        stride = 2 if position == 1 else 1
        layers += [nn.Conv2d(fan_in, fan_out, 3, stride, 1, bias=False), norm(fan_out), activation()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


def perceptron(depth: int, width: int, norm: Norm, activation: type[nn.Module]) -> nn.Module:
    """The same without positions."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise([64] + [width] * depth):
        layers += [nn.Linear(fan_in, fan_out, bias=False), norm(fan_out), activation()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


class Residual(nn.Module):
    """Two convolutions on half the positions, added to a map of what they were given."""

    def __init__(self, fan_in: int, fan_out: int, stride: int, norm: Norm, activation: type[nn.Module]) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(fan_in, fan_out, 3, stride, 1, bias=False), norm(fan_out), activation(),
            nn.Conv2d(fan_out, fan_out, 3, 1, 1, bias=False), norm(fan_out),
        )  # fmt: skip
        self.short = nn.Sequential(nn.Conv2d(fan_in, fan_out, 1, stride, bias=False), norm(fan_out))
        self.activation = activation()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(self.branch(x) + self.short(x))


def residual(depth: int, width: int, norm: Norm, activation: type[nn.Module]) -> nn.Module:
    """64, 16, 4 positions and one, ``depth`` blocks each but for the first."""
    layers: list[nn.Module] = [nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, width, 3, 1, 1, bias=False), norm(width)]
    for _ in range(3):
        layers += [Residual(width, width, 2 if block == 0 else 1, norm, activation) for block in range(depth)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width, 10))


def local_accuracy(what: str, split: str, samples: int, whole: int, seed: int, steps: int = 300) -> float:
    """In eval mode, of a network whose norms saw ``samples`` of a batch of ``whole`` at a time."""
    x, y = digits()
    torch.manual_seed(seed)
    norm: Norm = lambda width: GhostBatchNorm(width, virtual_batch_size=samples)  # noqa: E731
    build = {"local": network, "flat": perceptron, "late": residual}[what]
    depth = (1, 2) if what == "late" else (3, 5)
    model = build(depth[0], 16, norm, nn.ReLU) if split == "dev" else build(depth[1], 24, norm, nn.SiLU)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(steps):
        index = torch.randint(1400, (whole,))
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(model(x[index]), y[index]).backward()
        optimizer.step()
    with torch.no_grad():
        return float((model.eval()(x[1400:]).argmax(1) == y[1400:]).float().mean())


class Masked(nn.Module):
    """Batch norm over the real steps alone, or over all."""

    def __init__(self, width: int, *, honest: bool) -> None:
        super().__init__()
        self.norm, self.honest = nn.BatchNorm1d(width), honest

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if not self.honest:
            return self.norm(x)
        steps = x.transpose(1, 2)
        return torch.zeros_like(steps).masked_scatter(mask[..., None], self.norm(steps[mask])).transpose(1, 2)


class Tagger(nn.Module):
    """Convolutions over time with batch norm, and the mean over real steps."""

    def __init__(self, depth: int, width: int, *, honest: bool) -> None:
        super().__init__()
        sizes = itertools.pairwise([CHANNELS] + [width] * depth)
        self.convs = nn.ModuleList(nn.Conv1d(a, b, 5, padding=2, bias=False) for a, b in sizes)
        self.norms = nn.ModuleList(Masked(width, honest=honest) for _ in range(depth))
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(conv(x), mask).relu()
        weight = mask[:, None].float()
        return self.head((x * weight).sum(2) / weight.sum(2))


CHANNELS, CLASSES, LENGTH = 4, 5, 48


def sequences(count: int, padded: float, motifs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noise with a motif of the class somewhere; zeros behind, a share ``padded`` of all steps on average."""
    x, y = torch.randn(count, CHANNELS, LENGTH), torch.randint(CLASSES, (count,))
    shortest = 10
    mean = max(shortest, LENGTH * (1 - padded))
    spread = min(mean - shortest, LENGTH - mean)
    lengths = (mean + spread * (2 * torch.rand(count) - 1)).round().long()
    starts = (torch.rand(count) * (lengths - 7)).long()
    for sample in range(count):
        x[sample, :, starts[sample] : starts[sample] + 7] += motifs[y[sample]]
    mask = torch.arange(LENGTH) < lengths[:, None]
    return x * mask[:, None], mask, y


def padded_accuracy(split: str, padded: float, seed: int, *, honest: bool, steps: int = 300) -> tuple[float, float]:
    """In eval mode, on sequences as padded as those of training, and on sequences without padding."""
    torch.manual_seed(seed)
    motifs = torch.randn(CLASSES, CHANNELS, 7)
    model = Tagger(3, 24, honest=honest) if split == "dev" else Tagger(5, 32, honest=honest)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(steps):
        x, mask, y = sequences(32, padded, motifs)
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(model(x, mask), y).backward()
        optimizer.step()
    model.eval()
    found: list[float] = []
    for share in (padded, 0.0):
        x, mask, y = sequences(500, share, motifs)
        with torch.no_grad():
            found.append(float((model(x, mask).argmax(1) == y).float().mean()))
    return found[0], found[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("what", choices=("local", "flat", "late", "padding"))
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    parser.add_argument("--seeds", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    seeds = range(options.seeds)
    if options.what != "padding":
        for whole, samples in itertools.product((32, 64), (2, 4, 8, 16, 32, 64)):
            if samples <= whole:
                runs = [local_accuracy(options.what, options.split, samples, whole, seed) for seed in seeds]
                print(f"batch {whole}, local {samples}: " + " ".join(f"{run:.3f}" for run in runs), flush=True)
        return
    for padded, honest in itertools.product((0.1, 0.25, 0.5, 0.7), (True, False)):
        pairs = [padded_accuracy(options.split, padded, seed, honest=honest) for seed in seeds]
        print(f"padded {padded}, honest {honest}: " + " ".join(f"{a:.3f}/{b:.3f}" for a, b in pairs), flush=True)


if __name__ == "__main__":
    main()
