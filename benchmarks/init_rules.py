"""What faults of initialization cost: biases, first losses, clones and packed fans (INI005 to INI008).

    python benchmarks/init_rules.py bias|loss|clones|fans [--split dev|test] [--seeds 2]

A row a network: the figure that the rule judges, the score that the best of three optimizers reached after 200 steps,
and that of its twin without the fault. The score is the accuracy on held-out samples, or the share of the targets'
variance that is explained; of first losses also the held-out loss over that of a guess. The development split sets the
limits; the test split has other widths, activations, data and architectures (of packed fans there is one split).
"""

from __future__ import annotations

import argparse
import copy
import csv
import itertools
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from torch import nn
from torch.nn import functional as F

import gainstage as gs

STEPS, BATCH = 200, 64
OPTIMIZERS = {"adam 1e-3": (torch.optim.Adam, 1e-3), "adam 1e-2": (torch.optim.Adam, 1e-2),
              "sgd .05": (torch.optim.SGD, 0.05)}  # fmt: skip
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "silu": nn.SiLU, "elu": nn.ELU,
}  # fmt: skip


@dataclass(frozen=True)
class Data:
    """Inputs, targets (classes, or one column of unit variance) and how many of them are trained on."""

    x: torch.Tensor
    y: torch.Tensor
    train: int
    outputs: int

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.mse_loss(outputs, targets) if self.y.is_floating_point() else F.cross_entropy(outputs, targets)

    @property
    def guess(self) -> float:
        """The loss of a network that knows nothing."""
        return 1.0 if self.y.is_floating_point() else math.log(self.outputs)

    def held_out_loss(self, model: nn.Module) -> float:
        with torch.no_grad():
            return float(self.loss(model.eval()(self.x[self.train :]), self.y[self.train :])) / self.guess

    def score(self, model: nn.Module) -> float:
        with torch.no_grad():
            outputs, targets = model.eval()(self.x[self.train :]), self.y[self.train :]
        if self.y.is_floating_point():
            return max(-1.0, 1 - float(F.mse_loss(outputs, targets) / targets.var()))
        return float((outputs.argmax(1) == targets).float().mean())


def data(name: str) -> Data:
    """What is learned.

    Args:
        name: ``digits``, ``parity`` (of the digit), ``noisy`` (digits, three labels in ten by chance), ``cancer``,
            ``diabetes``, or made up: ``smooth`` (a function) and ``classes`` (100 of them, drawn from a softmax).
    """
    if name == "classes":
        generator = torch.Generator().manual_seed(7)
        x = torch.randn(4000, 64, generator=generator)
        teacher = 3 * torch.randn(64, 100, generator=generator) / 8
        return Data(x, torch.multinomial((x @ teacher).softmax(1), 1, generator=generator)[:, 0], 3200, 100)
    if name == "smooth":
        generator = torch.Generator().manual_seed(7)
        x = torch.randn(1800, 64, generator=generator)
        y = torch.sin(x[:, :1]) + 0.5 * x[:, 1:2] * x[:, 2:3] + x[:, 3:4]
        return Data(x, (y - y.mean()) / y.std(), 1400, 1)
    load = {"cancer": load_breast_cancer, "diabetes": load_diabetes}.get(name, load_digits)
    arrays = load(return_X_y=True)
    order = torch.randperm(len(arrays[0]), generator=torch.Generator().manual_seed(0))
    x, y = torch.tensor(arrays[0], dtype=torch.float32)[order], torch.tensor(arrays[1])[order]
    x = (x - x.mean(0)) / (x.std(0) + 1e-6)
    if name == "diabetes":
        y = y.float()[:, None]
        return Data(x, (y - y.mean()) / y.std(), 350, 1)
    y = y % 2 if name == "parity" else y
    if name == "noisy":
        drawn = torch.rand(len(y), generator=torch.Generator().manual_seed(1)) < 0.3
        y = torch.where(drawn, torch.randint(10, (len(y),), generator=torch.Generator().manual_seed(2)), y)
    return Data(x, y.long(), int(0.78 * len(x)), int(y.max()) + 1)


def trained(build: Callable[[], nn.Module], of: Data, optimizer: str, seed: int) -> float:
    model = fitted(build, of, optimizer, seed)
    return 0.0 if model is None else of.score(model)


def fitted(build: Callable[[], nn.Module], of: Data, optimizer: str, seed: int) -> nn.Module | None:
    """The trained network; None where the loss was not finite."""
    torch.manual_seed(seed)
    model = build()
    kind, lr = OPTIMIZERS[optimizer]
    optim = kind(model.parameters(), lr=lr)
    for _ in range(STEPS):
        index = torch.randint(of.train, (BATCH,))
        loss = of.loss(model(of.x[index]), of.y[index])
        if not torch.isfinite(loss):
            return None
        optim.zero_grad(set_to_none=True)
        loss.backward()
        optim.step()
    return model


def best(build: Callable[[], nn.Module], of: Data, seeds: int) -> float:
    return max(sum(trained(build, of, name, seed) for seed in range(seeds)) / seeds for name in OPTIMIZERS)


def least_loss(build: Callable[[], nn.Module], of: Data, seeds: int) -> float:
    found: list[float] = []
    for name in OPTIMIZERS:
        models = [fitted(build, of, name, seed) for seed in range(seeds)]
        found.append(sum(math.inf if m is None else of.held_out_loss(m) for m in models) / seeds)
    return min(found)


def he(linear: nn.Linear | nn.Conv2d, activation: str) -> nn.Module:
    gain = 1.0 if activation == "tanh" else math.sqrt(2)
    nn.init.normal_(linear.weight, std=gain / math.sqrt(linear.weight[0].numel()))
    nn.init.zeros_(linear.bias)  # pyright: ignore[reportArgumentType]
    return linear


def mlp(fan_in: int, depth: int, width: int, activation: str, outputs: int) -> nn.Sequential:
    sizes = [fan_in] + [width] * depth
    layers = [
        m for i, o in itertools.pairwise(sizes) for m in (he(nn.Linear(i, o), activation), ACTIVATIONS[activation]())
    ]
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def cnn(depth: int, width: int, activation: str, outputs: int) -> nn.Sequential:
    sizes = [1] + [width] * depth
    layers = [
        m
        for i, o in itertools.pairwise(sizes)
        for m in (he(nn.Conv2d(i, o, 3, padding=1), activation), ACTIVATIONS[activation]())
    ]
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), *layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, outputs)
    )


def hidden(model: nn.Module) -> list[nn.Linear | nn.Conv2d]:
    return [m for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv2d))][:-1]


def plain(split: str) -> Iterator[tuple[dict[str, object], str, Callable[[], nn.Sequential]]]:
    """Plain networks: what they are, the data's name, and how they are built."""
    if split == "dev":
        for depth, activation in itertools.product((2, 4, 8), ("relu", "tanh", "gelu")):
            note: dict[str, object] = {"net": "mlp", "depth": depth, "width": 64, "activation": activation}
            yield note, "digits", lambda d=depth, a=activation: mlp(64, d, 64, a, 10)
        return
    for depth, activation in itertools.product((3, 6), ("elu", "silu", "relu")):
        note = {"net": "mlp", "depth": depth, "width": 128, "activation": activation}
        yield note, "cancer", lambda d=depth, a=activation: mlp(30, d, 128, a, 2)
    for activation, name in itertools.product(("elu", "relu"), ("parity", "smooth")):
        note = {"net": "mlp", "depth": 3, "width": 128, "activation": activation}
        outputs = data(name).outputs
        yield note, name, lambda a=activation, o=outputs: mlp(64, 3, 128, a, o)
    for depth, activation in itertools.product((3, 6), ("relu", "tanh")):
        note = {"net": "cnn", "depth": depth, "width": 16, "activation": activation}
        yield note, "digits", lambda d=depth, a=activation: cnn(d, 16, a, 10)


def with_biases(build: Callable[[], nn.Sequential], kind: str, size: float, first: int = 0) -> nn.Sequential:
    model = build()
    for layer in hidden(model)[first:]:
        bias = layer.bias
        assert bias is not None
        with torch.no_grad():
            bias.normal_(0, size) if kind == "normal" else bias.fill_(size)
    return model


def bias_ratios(model: nn.Module, of: Data) -> dict[str, float]:
    """The largest bias rms over the level of Wx (from fans), and over the std of a unit among samples."""
    torch.manual_seed(100)
    trace = gs.record(model, (of.x[:128], of.y[:128]), of.loss)
    level, spread = 0.0, 0.0
    for layer in trace.layers:
        if layer.kind in ("linear", "conv") and layer.bias_rms and layer.fan_in and layer is not trace.layers[-1]:
            product = (layer.weight_rms or 0) * math.sqrt(layer.fan_in) * (layer.input_rms or 0)
            level = max(level, layer.bias_rms / product if product else math.inf)
            spread = max(spread, layer.bias_rms / layer.channel_std if layer.channel_std else math.inf)
    return {"over_level": round(level, 3), "over_spread": round(spread, 3)}


def bias_rows(split: str, seeds: int) -> Iterator[dict[str, object]]:
    sizes = [("constant", s) for s in (-3.0, -1.0, 0.3, 1.0, 3.0, 6.0, 10.0, 15.0, 30.0)]
    sizes += [("normal", s) for s in (0.3, 1.0, 3.0, 6.0, 10.0, 20.0)]
    for note, name, build in plain(split):
        of = data(name)
        twin = best(build, of, seeds)
        for kind, size in sizes:
            for first in (0, 1) if split == "dev" and note["depth"] == 4 else (0,):
                faulty = lambda b=build, k=kind, s=size, f=first: with_biases(b, k, s, f)  # noqa: E731
                yield {**note, "data": name, "kind": kind, "size": size, "first": first, **bias_ratios(faulty(), of),
                       "score": round(best(faulty, of, seeds), 4), "twin": round(twin, 4)}  # fmt: skip
        optimizer, total = torch.optim.Adam((model := build()).parameters(), lr=3e-3), 1000
        for _ in range(total):
            index = torch.randint(of.train, (BATCH,))
            optimizer.zero_grad()
            of.loss(model(of.x[index]), of.y[index]).backward()
            optimizer.step()
        yield {**note, "data": name, "kind": "trained", "size": 0.0, "first": 0, **bias_ratios(model, of),
               "score": of.score(model), "twin": twin}  # fmt: skip


def loud(build: Callable[[], nn.Sequential], scale: float) -> nn.Sequential:
    """The read-out's weights ``scale`` times LeCun's."""
    model = build()
    readout = model[-1]
    assert isinstance(readout, nn.Linear)
    nn.init.normal_(readout.weight, std=scale / math.sqrt(readout.in_features))
    return model


def loss_rows(split: str, seeds: int) -> Iterator[dict[str, object]]:
    cases: list[tuple[dict[str, object], str, Callable[[], nn.Sequential]]] = []
    if split == "dev":
        for depth, activation, name in itertools.product(
            (2, 4), ("relu", "tanh"), ("digits", "parity", "noisy", "classes", "smooth")
        ):
            outputs = data(name).outputs
            note: dict[str, object] = {"net": "mlp", "depth": depth, "width": 64, "activation": activation}
            cases.append((note, name, lambda d=depth, a=activation, o=outputs: mlp(64, d, 64, a, o)))
    else:
        for depth, activation, name in itertools.product((1, 3), ("gelu", "silu"), ("cancer", "diabetes")):
            note = {"net": "mlp", "depth": depth, "width": 128, "activation": activation}
            sizes = (30, 2) if name == "cancer" else (10, 1)
            cases.append((note, name, lambda d=depth, a=activation, s=sizes: mlp(s[0], d, 128, a, s[1])))
        for depth in (3, 6):
            note = {"net": "cnn", "depth": depth, "width": 16, "activation": "relu"}
            cases.append((note, "digits", lambda d=depth: cnn(d, 16, "relu", 10)))
            cases.append(({**note, "activation": "elu"}, "noisy", lambda d=depth: cnn(d, 16, "elu", 10)))
    for note, name, build in cases:
        of = data(name)
        quiet = lambda b=build: loud(b, 0.3)  # noqa: E731
        twin, least = best(quiet, of, seeds), least_loss(quiet, of, seeds)
        for scale in (1.0, 3.0, 6.0, 10.0, 20.0, 50.0, 100.0, 1000.0):
            torch.manual_seed(0)
            model = loud(build, scale)
            with torch.no_grad():
                outputs = model(of.x[:128])
                loss = float(of.loss(outputs, of.y[:128]))
            yield {**note, "data": name, "scale": scale, "ratio": round(loss / of.guess, 3),
                   "output_rms": round(float(outputs.square().mean().sqrt()), 3),
                   "score": round(best(lambda b=build, s=scale: loud(b, s), of, seeds), 4),
                   "twin": round(twin, 4), "twin_loss": round(least, 4),
                   "least_loss": round(least_loss(lambda b=build, s=scale: loud(b, s), of, seeds), 4)}  # fmt: skip


class Encoder(nn.Module):
    """Rows of a digit as tokens."""

    def __init__(self, depth: int, *, norm_first: bool, width: int = 32) -> None:
        super().__init__()
        self.embed, self.position = nn.Linear(8, width), nn.Parameter(torch.randn(8, width) * 0.02)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, batch_first=True, norm_first=norm_first)
            for _ in range(depth)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x.unflatten(1, (8, 8))) + self.position
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x).mean(1))


class Residual(nn.Module):
    def __init__(self, depth: int, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
            for _ in range(depth)
        )
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = x + layer(x)
        return self.head(x)


class Plain(nn.Module):
    def __init__(self, depth: int, activation: str, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(he(nn.Linear(width, width), activation), ACTIVATIONS[activation]()) for _ in range(depth)
        )
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


class Parallel(nn.Module):
    """Branches side by side whose features are averaged."""

    def __init__(self, branches: int, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()) for _ in range(branches)
        )
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(sum(layer(x) for layer in self.layers) / len(self.layers))


def cloned(build: Callable[[], nn.Module]) -> nn.Module:
    model = build()
    layers = model.layers
    assert isinstance(layers, nn.ModuleList)
    for position in range(1, len(layers)):
        layers[position] = copy.deepcopy(layers[0])
    return model


def clone_rows(split: str, seeds: int) -> Iterator[dict[str, object]]:
    cases: dict[str, Callable[[], nn.Module]] = {
        "transformer, post-norm, 3": lambda: Encoder(3, norm_first=False),
        "transformer, pre-norm, 6": lambda: Encoder(6, norm_first=True),
        "residual, 6": lambda: Residual(6), "residual, 16": lambda: Residual(16),
        "plain relu, 4": lambda: Plain(4, "relu"), "plain relu, 10": lambda: Plain(10, "relu"),
        "plain tanh, 10": lambda: Plain(10, "tanh"),
        "parallel, 4 of 4": lambda: Parallel(4, 4), "parallel, 4 of 8": lambda: Parallel(4, 8),
    } if split == "dev" else {
        "transformer, post-norm, 6": lambda: Encoder(6, norm_first=False, width=16),
        "transformer, pre-norm, 3": lambda: Encoder(3, norm_first=True, width=16),
        "residual, 10": lambda: Residual(10), "plain gelu, 6": lambda: Plain(6, "gelu"),
        "plain elu, 14": lambda: Plain(14, "elu"), "parallel, 6 of 3": lambda: Parallel(6, 3),
        "parallel, 3 of 6": lambda: Parallel(3, 6),
    }  # fmt: skip
    of = data("digits")
    for name, build in cases.items():
        for seed in range(seeds):
            pair = [max(trained(b, of, o, seed) for o in OPTIMIZERS) for b in (lambda b=build: cloned(b), build)]
            yield {"net": name, "seed": seed, "score": round(pair[0], 4), "twin": round(pair[1], 4)}


class Recurrent(nn.Module):
    """Rows of a digit one after the other; weights by Xavier with the fans of all gates, or of one."""

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU], *, packed: bool, width: int) -> None:
        super().__init__()
        self.cell, self.head = kind(8, width, batch_first=True), nn.Linear(width, 10)
        for weight in self.cell.parameters():
            parts = 1 if packed else weight.shape[0] // width
            if weight.ndim == 2:
                for part in weight.data.chunk(parts):
                    nn.init.xavier_uniform_(part)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.cell(x.unflatten(1, (8, 8)))[0][:, -1])


def attention(depth: int, *, norm_first: bool, packed: bool) -> nn.Module:
    model = Encoder(depth, norm_first=norm_first)
    for layer in model.modules():
        if isinstance(layer, nn.MultiheadAttention) and not packed:
            for part in layer.in_proj_weight.data.chunk(3):
                nn.init.xavier_uniform_(part)
    return model


def grouped(depth: int, activation: str, *, packed: bool, width: int = 16) -> nn.Module:
    """Depthwise and pointwise convolutions without norms; the depthwise ones by He with fan_out of all or of one."""
    layers: list[nn.Module] = [nn.Unflatten(1, (1, 8, 8)), he(nn.Conv2d(1, width, 3, padding=1), activation)]
    for _ in range(depth):
        depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        nn.init.normal_(depthwise.weight, std=math.sqrt(2 / (9 * (width if packed else 1))))
        layers += [ACTIVATIONS[activation](), depthwise, ACTIVATIONS[activation](),
                   he(nn.Conv2d(width, width, 1), activation)]  # fmt: skip
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, 10))


def fan_rows(_: str, seeds: int) -> Iterator[dict[str, object]]:
    cases: dict[str, Callable[[bool], nn.Module]] = {
        "transformer, post-norm, 3": lambda p: attention(3, norm_first=False, packed=p),
        "transformer, pre-norm, 3": lambda p: attention(3, norm_first=True, packed=p),
        "lstm, 32": lambda p: Recurrent(nn.LSTM, packed=p, width=32),
        "gru, 32": lambda p: Recurrent(nn.GRU, packed=p, width=32),
        "depthwise relu, 2": lambda p: grouped(2, "relu", packed=p),
        "depthwise relu, 4": lambda p: grouped(4, "relu", packed=p),
    }
    of = data("digits")
    for name, build in cases.items():
        for seed in range(seeds):
            pair = [max(trained(lambda b=build, p=p: b(p), of, o, seed) for o in OPTIMIZERS) for p in (True, False)]
            yield {"net": name, "seed": seed, "score": round(pair[0], 4), "twin": round(pair[1], 4)}


ROWS = {"bias": bias_rows, "loss": loss_rows, "clones": clone_rows, "fans": fan_rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("experiment", choices=tuple(ROWS))
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    writer: csv.DictWriter[str] | None = None
    for entry in ROWS[options.experiment](options.split, options.seeds):
        if writer is None:
            writer = csv.DictWriter(sys.stdout, fieldnames=list(entry))
            writer.writeheader()
        writer.writerow(entry)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
