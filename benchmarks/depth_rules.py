"""What depth does to networks that train and to those that do not: the limits of INI009, INI010 and ACT003.

    python benchmarks/depth_rules.py collapse|growth|nonlinearity [--split dev|test] [--output FILE]

Each row is a network with the figure that a rule judges, as recorded at initialization, and the accuracy that the best
of two optimizers reached, averaged over seeds. Limits are chosen on the development split alone; the test split has
other widths, activations and kinds of network.
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
from torch.nn import functional as F

import gainstage as gs
from gainstage import theory
from gainstage.rules import affine, depth, signal

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "elu": nn.ELU, "silu": nn.SiLU, "sigmoid": nn.Sigmoid,
}  # fmt: skip
OPTIMIZERS = {"adam 1e-3": (torch.optim.Adam, 1e-3), "sgd .05": (torch.optim.SGD, 0.05)}
STEPS, BATCH, TRAINED = 200, 64, 1400
Data = tuple[torch.Tensor, torch.Tensor]
Case = tuple[dict[str, object], Callable[[], nn.Module], Data]


def digits() -> Data:
    x, y = load_digits(return_X_y=True)
    x = torch.tensor(x, dtype=torch.float32)
    return (x - x.mean(0)) / (x.std(0) + 1e-6), torch.tensor(y)


def pairs() -> Data:
    """Two digits side by side; whether the sum of the two is even, which no linear map tells."""
    x, y = digits()
    other = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    return torch.cat([x, x[other]], 1), (y + y[other]) % 2


def taught() -> Data:
    """Classes of a random network of one hidden layer."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1797, 24, generator=generator)
    first, second = torch.randn(24, 12, generator=generator), torch.randn(12, 4, generator=generator)
    return x, ((x @ first / 2).tanh() @ second).argmax(1)


class Plain(nn.Sequential):
    """``layers`` hidden layers whose biases have the variance ``bias_var`` and whose preactivations stay at 1."""

    def __init__(self, inputs: int, width: int, layers: int, activation: str, bias_var: float) -> None:
        modules: list[nn.Module] = []
        second = theory.second_moment(theory.activation(activation), 1.0)
        for position, fan_in in enumerate([inputs] + [width] * (layers - 1)):
            linear = nn.Linear(fan_in, width)
            level = 1.0 if position == 0 else second
            nn.init.normal_(linear.weight, std=math.sqrt((1 - bias_var) / level / fan_in))
            nn.init.normal_(linear.bias, std=math.sqrt(bias_var))
            modules += [linear, ACTIVATIONS[activation]()]
        super().__init__(*modules, nn.Linear(width, 10))


class Attention(nn.Module):
    """Rows of a picture as tokens through attention, with or without skips."""

    def __init__(self, width: int, layers: int, *, skips: bool) -> None:
        super().__init__()
        self.embed, self.skips = nn.Linear(8, width), skips
        self.position = nn.Parameter(torch.randn(8, width) * 0.1)
        self.layers = nn.ModuleList(nn.MultiheadAttention(width, 4, batch_first=True) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.head = nn.Linear(8 * width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.embed(x.unflatten(1, (8, 8))) + self.position
        for attention, norm in zip(self.layers, self.norms, strict=True):
            y = norm(h)
            y = attention(y, y, y, need_weights=False)[0]
            h = h + y if self.skips else y
        return self.head(h.flatten(1))


def convolutional(width: int, layers: int, activation: str, bias_var: float) -> nn.Module:
    modules: list[nn.Module] = [nn.Unflatten(1, (1, 8, 8))]
    second = theory.second_moment(theory.activation(activation), 1.0)
    for position, fan_in in enumerate([1] + [width] * (layers - 1)):
        conv = nn.Conv2d(fan_in, width, 3, padding=1)
        level = 1.0 if position == 0 else second
        nn.init.normal_(conv.weight, std=math.sqrt((1 - bias_var) / level / (9 * fan_in)))
        nn.init.normal_(conv.bias, std=math.sqrt(bias_var))
        modules += [conv, ACTIVATIONS[activation]()]
    return nn.Sequential(*modules, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, 10))


class Block(nn.Module):
    """x + α f(x) with a branch of unit gain at α = 1; ``after`` applies the activation behind the sum."""

    def __init__(self, width: int, activation: str, alpha: float, *, conv: bool = False, after: bool = False) -> None:
        super().__init__()
        kind = (lambda: nn.Conv2d(width, width, 3, padding=1)) if conv else (lambda: nn.Linear(width, width))
        self.first, self.second, self.activation = kind(), kind(), ACTIVATIONS[activation]()
        self.after = after
        gain = 1 / math.sqrt(theory.second_moment(theory.activation(activation), 1.0))
        for module, level in ((self.first, 1.0), (self.second, gain * alpha)):
            nn.init.normal_(module.weight, std=level / math.sqrt(module.weight[0].numel()))
            nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = x + self.second(self.activation(self.first(x)))
        return self.activation(out) if self.after else out


def residual(width: int, blocks: int, activation: str, alpha: float, *, norm: bool = False, conv: bool = False,
             after: bool = False) -> nn.Module:  # fmt: skip
    body = [Block(width, activation, alpha, conv=conv, after=after) for _ in range(blocks)]
    if conv:
        stem: list[nn.Module] = [nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, width, 3, padding=1)]
        return nn.Sequential(*stem, *body, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, 10))
    stem = [nn.Linear(64, width)]
    nn.init.normal_(stem[0].weight, std=1 / 8)
    return nn.Sequential(*stem, *body, *([nn.LayerNorm(width)] if norm else []), nn.Linear(width, 10))


def gapped(inputs: int, width: int, layers: int, activation: str, missing: tuple[int, ...]) -> nn.Module:
    """A multi-layer perceptron without the activations behind these layers."""
    modules: list[nn.Module] = []
    for position, fan_in in enumerate([inputs] + [width] * (layers - 1)):
        modules += [nn.Linear(fan_in, width)] + ([] if position in missing else [ACTIVATIONS[activation]()])
    return nn.Sequential(*modules, nn.Linear(width, 10))


def gapped_convolutions(width: int, layers: int, missing: tuple[int, ...]) -> nn.Module:
    modules: list[nn.Module] = [nn.Unflatten(1, (1, 8, 8))]
    for position, fan_in in enumerate([1] + [width] * (layers - 1)):
        modules += [nn.Conv2d(fan_in, width, 3, padding=1)] + ([] if position in missing else [nn.ReLU()])
    return nn.Sequential(*modules, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * width, 10))


# Depth, activation and bias variance of networks that lie about 3 decades.
NEAR_THE_LIMIT = {
    "dev": ((24, "relu", 0.25), (24, "tanh", 0.25), (16, "relu", 0.4), (16, "tanh", 0.5), (12, "relu", 0.5)),
    "test": ((18, "gelu", 0.4), (18, "elu", 0.45), (28, "gelu", 0.25), (28, "elu", 0.25)),
}


def collapse_cases(split: str) -> Iterator[Case]:
    data = digits()
    grid = itertools.product((6, 12, 24), ("relu", "tanh"), (0.0, 0.05, 0.15, 0.4))
    if split == "test":
        grid = itertools.product((9, 18), ("gelu", "elu"), (0.0, 0.1, 0.3))
    width = 64 if split == "dev" else 128
    for layers, activation, bias_var in (*grid, *NEAR_THE_LIMIT[split]):
        note: dict[str, object] = {"net": "mlp", "depth": layers, "activation": activation, "bias_var": bias_var}
        yield note, (lambda n=layers, a=activation, b=bias_var: Plain(64, width, n, a, b)), data
    if split == "test":
        for bias_var in (0.0, 0.3):
            note = {"net": "cnn", "depth": 10, "activation": "relu", "bias_var": bias_var}
            yield note, (lambda b=bias_var: convolutional(16, 10, "relu", b)), data
        for layers, skips in itertools.product((4, 12), (True, False)):
            note = {"net": "attention" + " with skips" * skips, "depth": layers, "activation": "", "bias_var": 0.0}
            yield note, (lambda n=layers, s=skips: Attention(32, n, skips=s)), data


def growth_cases(split: str) -> Iterator[Case]:
    data = digits()
    if split == "dev":
        for blocks, alpha, norm in itertools.product((2, 4, 8, 16, 32), (0.1, 0.3, 0.6, 1.0, 1.4), (False, True)):
            if norm and blocks > 16:
                continue
            note: dict[str, object] = {"net": "mlp" + " with last norm" * norm, "depth": blocks, "alpha": alpha}
            yield note, (lambda n=blocks, a=alpha, m=norm: residual(64, n, "relu", a, norm=m)), data
        return
    for blocks, alpha, activation in itertools.product((6, 16), (0.2, 0.6, 1.0), ("gelu", "tanh")):
        note = {"net": activation, "depth": blocks, "alpha": alpha}
        yield note, (lambda n=blocks, a=alpha, f=activation: residual(128, n, f, a)), data
    for alpha in (0.2, 0.6, 1.0, 1.4):
        note = {"net": "cnn", "depth": 10, "alpha": alpha}
        yield note, (lambda a=alpha: residual(12, 10, "relu", a, conv=True)), data
        note = {"net": "activation behind", "depth": 12, "alpha": alpha}
        yield note, (lambda a=alpha: residual(128, 12, "relu", a, after=True)), data


def nonlinearity_cases(split: str) -> Iterator[Case]:
    if split == "dev":
        sizes = [("digits", digits(), layers) for layers in (1, 2, 3, 5)]
        sizes += [("pairs", pairs(), layers) for layers in (1, 2)]
        for (name, data, layers), activation in itertools.product(sizes, ("relu", "tanh")):
            for missing in _gaps(layers):
                note: dict[str, object] = {"net": "mlp", "data": name, "depth": layers, "activation": activation,
                                           "missing": len(missing), "gaps": str(missing)}  # fmt: skip
                inputs = data[0].shape[1]
                yield note, (lambda i=inputs, n=layers, a=activation, m=missing: gapped(i, 64, n, a, m)), data
        return
    data = taught()
    for layers in (1, 2):
        for missing in _gaps(layers):
            note = {"net": "mlp", "data": "taught", "depth": layers, "activation": "gelu",
                    "missing": len(missing), "gaps": str(missing)}  # fmt: skip
            yield note, (lambda n=layers, m=missing: gapped(24, 128, n, "gelu", m)), data
    for missing in _gaps(2):
        note = {"net": "cnn", "data": "digits", "depth": 2, "activation": "relu", "missing": len(missing),
                "gaps": str(missing)}  # fmt: skip
        yield note, (lambda m=missing: gapped_convolutions(16, 2, m)), digits()


def _gaps(layers: int) -> list[tuple[int, ...]]:
    """None, each one alone, every second one, all but one, all."""
    everything = tuple(range(layers))
    found = [(), *((i,) for i in everything), everything[::2], everything[1:], everything[:-1], everything]
    return list(dict.fromkeys(found))


def accuracy(build: Callable[[], nn.Module], data: Data, optimizer: str, seed: int, steps: int) -> float:
    x, y = data
    torch.manual_seed(seed)
    model = build()
    kind, lr = OPTIMIZERS[optimizer]
    optim = kind(model.parameters(), lr=lr)
    for _ in range(steps):
        index = torch.randint(TRAINED, (BATCH,))
        loss = F.cross_entropy(model(x[index]), y[index])
        if not torch.isfinite(loss):
            break
        optim.zero_grad(set_to_none=True)
        loss.backward()
        optim.step()
    with torch.no_grad():
        return float((model(x[TRAINED:]).argmax(1) == y[TRAINED:]).float().mean())


def row(case: Case, what: str, seeds: int) -> dict[str, object]:
    note, build, data = case
    torch.manual_seed(100)
    trace = gs.record(build(), (data[0][:128], data[1][:128]))
    labels = trace.loss_record.labels if trace.loss_record is not None else None
    changes = [change for segment in signal.segments(trace) if (change := segment.change()) is not None]
    steps = 3 * STEPS if what == "nonlinearity" else STEPS
    best = max(sum(accuracy(build, data, name, seed, steps) for seed in range(seeds)) / seeds for name in OPTIMIZERS)
    collapse, growth = depth.collapse(trace), depth.worst_growth(trace)
    return {
        **note, "collapse": None if collapse is None else round(collapse.decades, 3),
        "left": None if collapse is None else collapse.left,
        "growth": 0.0 if growth is None else round(growth.decades, 3), "repaired": growth and growth.repaired,
        "pairs": len(affine.unbroken(trace)), "bends": affine.bends(trace),
        "forward": round(max(changes, key=abs, default=0.0), 3), "backward": signal.gradient_change(trace),
        "alignment": labels and labels.alignment, "commonest": labels and labels.commonest_prediction,
        "loss": trace.loss, "accuracy": round(best, 4),
    }  # fmt: skip


CASES = {"collapse": collapse_cases, "growth": growth_cases, "nonlinearity": nonlinearity_cases}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("what", choices=tuple(CASES))
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    parser.add_argument("--output", default="")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--skip", type=int, default=0, help="networks that are known already")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with open(options.output, "w", newline="") if options.output else sys.stdout as file:
        writer: csv.DictWriter[str] | None = None
        for case in itertools.islice(CASES[options.what](options.split), options.skip, None):
            entry = row(case, options.what, options.seeds)
            if writer is None:
                writer = csv.DictWriter(file, fieldnames=list(entry))
                writer.writeheader()
            writer.writerow(entry)
            file.flush()


if __name__ == "__main__":
    main()
