"""Networks that train get no warning: precision is the first virtue."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import gainstage as gs

Case = tuple[nn.Module, object]
images = lambda n=16: (torch.randn(n, 3, 16, 16), torch.randint(10, (n,)))  # noqa: E731
vectors = lambda n=64: (torch.randn(n, 32), torch.randint(10, (n,)))  # noqa: E731


class ResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)), inplace=True))), inplace=True)


class SkipInit(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second, self.alpha = (
            nn.Linear(width, width),
            nn.Linear(width, width),
            nn.Parameter(torch.zeros(())),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.alpha * self.second(F.relu(self.first(x)))


class Transformer(nn.Module):
    def __init__(self, norm_first: bool, depth: int = 6) -> None:
        super().__init__()
        self.embedding, self.position = nn.Embedding(50, 32), nn.Parameter(torch.randn(12, 32) * 0.02)
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(self.embedding(x) + self.position).mean(1))


class Recurrent(nn.Module):
    def __init__(self, kind: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.cell, self.head = kind(8, 32, num_layers=2, batch_first=True), nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.cell(x)[0][:, -1])


def mlp(depth: int, activation: type[nn.Module]) -> nn.Module:
    return nn.Sequential(*[m for i in range(depth) for m in (nn.Linear(32, 32), activation())], nn.Linear(32, 10))


def he(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
    return model


def depthwise() -> nn.Module:
    stages: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.Hardswish()]
    for _ in range(5):
        stages += [nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False), nn.BatchNorm2d(16), nn.ReLU6()]
        stages += [nn.Conv2d(16, 16, 1, bias=False), nn.BatchNorm2d(16), nn.SiLU()]
    return nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))


def resnet(depth: int) -> nn.Module:
    stem = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(
        *stem, *[ResidualBlock(16) for _ in range(depth)], nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)
    )


def autoencoder() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
        nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1), nn.ReLU(),
        nn.ConvTranspose2d(16, 3, 4, stride=2, padding=1),
    )  # fmt: skip


def tokens() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randint(50, (16, 12)), torch.randint(10, (16,))


def lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(216, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


class FixupBlock(nn.Module):
    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        nn.init.normal_(self.first.weight, std=(2 / (9 * width * depth)) ** 0.5)
        nn.init.zeros_(self.last.weight)
        self.bias, self.scale = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.last(torch.relu(self.first(x + self.bias))) * self.scale)


def fixup(depth: int) -> nn.Module:
    blocks = [FixupBlock(16, depth) for _ in range(depth)]
    stem = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU()]
    return zero_head(nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 10)))


def frozen_trunk() -> nn.Module:
    model = nn.Sequential(resnet(2)[:-1], nn.Linear(16, 10))
    model[0].requires_grad_(False)
    return model


HEALTHY: dict[str, Callable[[], Case]] = {
    "3-layer relu, torch default": lambda: (mlp(3, nn.ReLU), vectors()),
    "3-layer tanh, torch default": lambda: (mlp(3, nn.Tanh), vectors()),
    "2-layer sigmoid, torch default": lambda: (mlp(2, nn.Sigmoid), vectors()),
    "3-layer gelu, torch default": lambda: (mlp(3, nn.GELU), vectors()),
    "12-layer relu, he": lambda: (he(mlp(12, nn.ReLU)), vectors()),
    "12-layer leaky relu, he": lambda: (he(mlp(12, nn.LeakyReLU)), vectors()),
    "20-layer selu, lecun": lambda: (gs_initialized(mlp(20, nn.SELU)), vectors()),
    "linear regression": lambda: (nn.Linear(32, 1), (torch.randn(64, 32), torch.randn(64, 1))),
    "lenet": lambda: (lenet(), images()),
    "resnet, 4 blocks": lambda: (resnet(4), images()),
    "resnet, 16 blocks": lambda: (resnet(16), images()),
    "depthwise": lambda: (depthwise(), images()),
    "skipinit, 30 blocks": lambda: (nn.Sequential(*[SkipInit(32) for _ in range(30)], nn.Linear(32, 10)), vectors()),
    "transformer, pre-norm": lambda: (Transformer(norm_first=True), tokens()),
    "transformer, post-norm": lambda: (Transformer(norm_first=False), tokens()),
    "lstm": lambda: (Recurrent(nn.LSTM), (torch.randn(16, 12, 8), torch.randint(10, (16,)))),
    "gru": lambda: (Recurrent(nn.GRU), (torch.randn(16, 12, 8), torch.randint(10, (16,)))),
    "autoencoder": lambda: (autoencoder(), (x := torch.randn(8, 3, 16, 16), x)),
    "frozen trunk": lambda: (frozen_trunk(), images()),
    "sigmoid output, mse on probabilities": lambda: (
        nn.Sequential(mlp(2, nn.ReLU), nn.Sigmoid()), (torch.randn(64, 32), torch.rand(64, 10)),
    ),
    "fixup, zero read-out": lambda: (fixup(6), images()),
    "zero read-out": lambda: (zero_head(mlp(3, nn.ReLU)), vectors()),
}  # fmt: skip


def gs_initialized(model: nn.Module) -> nn.Module:
    gs.initialize(model, vectors())
    return model


def zero_head(model: nn.Sequential) -> nn.Module:
    nn.init.zeros_(model[-1].weight)
    nn.init.zeros_(model[-1].bias)
    return model


@pytest.mark.parametrize("name", HEALTHY)
@pytest.mark.parametrize("seed", [0, 1])
def test_is_silent(name: str, seed: int) -> None:
    torch.manual_seed(seed)
    model, batch = HEALTHY[name]()

    findings = gs.check(model, batch).findings

    assert [(f.code, f.message) for f in findings if f.severity != "info"] == []


USUAL: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
    "adamw 1e-4": lambda parameters: torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.1),
    "momentum 0.05": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9, nesterov=True),
}


@pytest.mark.parametrize("optimizer", USUAL)
@pytest.mark.parametrize("name", HEALTHY)
def test_is_silent_at_usual_learning_rates(name: str, optimizer: str) -> None:
    torch.manual_seed(0)
    model, batch = HEALTHY[name]()
    built = USUAL[optimizer]([parameter for parameter in model.parameters() if parameter.requires_grad])

    findings = gs.check(model, batch, optimizer=built).findings

    assert [(f.code, f.message) for f in findings if f.severity != "info"] == []


class ClassToken(nn.Module):
    """A vision transformer that starts with its branches all but closed: only the class token hears of the loss."""

    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.patches, self.token = nn.Linear(48, 32), nn.Parameter(torch.randn(1, 1, 32) * 0.02)
        self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(2 * depth))
        self.attention = nn.ModuleList(nn.MultiheadAttention(32, 4, batch_first=True) for _ in range(depth))
        self.mixers = nn.ModuleList(
            nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32)) for _ in range(depth)
        )
        self.scales = nn.ParameterList(nn.Parameter(torch.full((32,), 1e-6)) for _ in range(2 * depth))
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x.flatten(2).transpose(1, 2).reshape(len(x), -1, 48))
        x = torch.cat((self.token.expand(len(x), -1, -1), x), 1)
        for i, (attention, mixer) in enumerate(zip(self.attention, self.mixers, strict=True)):
            y = self.norms[2 * i](x)
            x = x + self.scales[2 * i] * attention(y, y, y, need_weights=False)[0]
            x = x + self.scales[2 * i + 1] * mixer(self.norms[2 * i + 1](x))
        return self.head(self.norm(x)[:, 0])


class Closed(nn.Module):
    """A block that a norm with a scale of zero keeps closed, with a gate in it whose last map starts at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.gate, self.last = (
            nn.Conv2d(width, width, 1),
            nn.Linear(width, width),
            nn.Conv2d(width, width, 1),
        )
        self.norm = nn.BatchNorm2d(width)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.silu(self.first(x))
        return x + self.norm(self.last(y + self.gate(y.mean((2, 3)))[..., None, None]))


class Modulated(nn.Module):
    """A branch with small weights in a row: next to nothing is added at the start."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.maps = nn.Sequential(*[nn.Linear(width, width) for _ in range(4)])
        for linear in self.maps:
            nn.init.normal_(linear.weight, std=0.01)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x)
        return x + y * F.gelu(self.maps(y))


@pytest.mark.parametrize(
    ("model", "batch"),
    [
        (ClassToken(), images()),
        (nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), *[Closed(16) for _ in range(3)],
                       nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)), images()),
        (nn.Sequential(nn.Linear(32, 32), *[Modulated(32) for _ in range(4)], nn.Linear(32, 10)), vectors()),
    ],
)  # fmt: skip
def test_branches_that_start_closed(model: nn.Module, batch: object) -> None:
    assert [(f.code, f.message) for f in gs.check(model, batch).findings if f.severity != "info"] == []
