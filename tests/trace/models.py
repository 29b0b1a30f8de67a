"""Small models of many kinds, for what must hold of all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint


def vectors(features: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(12, features), torch.randint(3, (12,))


def images() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(6, 3, 8, 8), torch.randint(3, (6,))


class Functional(nn.Module):
    """Raw parameters and functions only."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(torch.randn(16, 8)), nn.Parameter(torch.randn(16, 3))
        self.offset = nn.Parameter(torch.randn(1, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.einsum("bi,io->bo", F.relu(F.linear(x + self.offset, self.first)), self.second)


class Looped(nn.Module):
    """One layer, three calls."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(3):
            x = torch.tanh(self.inner(x))
        return self.head(x)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.conv2, self.bn2 = nn.Conv2d(3, 3, 3, padding=1, groups=3), nn.BatchNorm2d(3)
        self.head = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(x + self.bn2(self.conv2(y)))
        return self.head(F.max_pool2d(y, 8).flatten(1))


class Stateful(nn.Module):
    """Counts its calls, caches its output, writes to a parameter and to its input."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.calls, self.history = nn.Linear(8, 3), 0, []
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.seen = self.seen + 1
        with torch.no_grad():
            self.linear.weight.mul_(0.5)
            x.clamp_(-1, 1)
        self.last = self.linear(x)
        self.history.append(self.last)
        return self.last


class Checkpointed(nn.Module):
    def __init__(self, use_reentrant: bool) -> None:
        super().__init__()
        self.use_reentrant = use_reentrant
        self.block, self.head = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Dropout(0.5)), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.requires_grad_() if self.use_reentrant else x
        return self.head(checkpoint(self.block, x, use_reentrant=self.use_reentrant))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.unsqueeze(1).expand(-1, 5, -1)
        mask = torch.full((5, 5), float("-inf")).triu(1)
        return self.head(self.attention(x, x, x, attn_mask=mask)[0].mean(1))


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.cell, self.head = kind(4, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.cell(x.reshape(-1, 2, 4))[0][:, -1])


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.out = nn.Embedding(3, 8), nn.Linear(8, 3, bias=False)
        self.out.weight = self.embedding.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(x + self.embedding(torch.zeros(len(x), dtype=torch.long)))


class OwnLoss(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 3)

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.linear(inputs)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


class Autocast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.body(x)


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.idle, self.frozen = nn.Linear(8, 3), nn.Linear(8, 3), nn.Linear(8, 8)
        self.frozen.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.used(self.frozen(x))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout(0.2),
        nn.ConvTranspose2d(4, 4, 2), nn.GroupNorm(2, 4), nn.SiLU(inplace=True), nn.Flatten(), nn.LazyLinear(3),
    )  # fmt: skip


def parametrized() -> nn.Module:
    return nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8)), nn.Tanh(),
        nn.utils.parametrizations.weight_norm(nn.Linear(8, 3)),
    )  # fmt: skip


def built_cnn() -> nn.Module:
    model = cnn()
    model(images()[0])
    return model


Case = tuple[nn.Module, Any]
MODELS: dict[str, Callable[[], Case]] = {
    "mlp": lambda: (nn.Sequential(nn.Linear(8, 16), nn.ReLU(inplace=True), nn.Linear(16, 3)), vectors()),
    "cnn": lambda: (built_cnn(), images()),
    "residual": lambda: (Residual(), images()),
    "functional": lambda: (Functional(), vectors()),
    "looped": lambda: (Looped(), vectors()),
    "stateful": lambda: (Stateful(), vectors()),
    "checkpoint": lambda: (Checkpointed(False), vectors()),
    "reentrant checkpoint": lambda: (Checkpointed(True), vectors()),
    "attention": lambda: (Attention(), vectors()),
    "transformer layer": lambda: (
        nn.Sequential(
            nn.Unflatten(1, (2, 4)),
            nn.TransformerEncoderLayer(4, 2, 8, batch_first=True),
            nn.Flatten(),
            nn.Linear(8, 3),
        ),
        vectors(),
    ),
    "lstm": lambda: (Recurrent(nn.LSTM), vectors()),
    "gru": lambda: (Recurrent(nn.GRU), vectors()),
    "tied": lambda: (Tied(), vectors()),
    "own loss": lambda: (OwnLoss(), dict(zip(("inputs", "labels"), vectors(), strict=True))),
    "autocast": lambda: (Autocast(), vectors()),
    "unused": lambda: (Unused(), vectors()),
    "parametrized": lambda: (parametrized(), vectors()),
    "float64": lambda: (nn.Linear(8, 3).double(), (vectors()[0].double(), vectors()[1])),
    "bfloat16": lambda: (nn.Linear(8, 3).bfloat16(), (vectors()[0].bfloat16(), vectors()[1])),
    "data parallel": lambda: (nn.DataParallel(nn.Linear(8, 3)), vectors()),
    "compiled": lambda: (torch.compile(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))), vectors()),
    "no parameters": lambda: (nn.Softmax(1), vectors()),
}
