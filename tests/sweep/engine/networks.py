"""Networks and data for the tests, found by the path of this file as a user's would be."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from gainstage.sweep import Data
from gainstage.sweep.examples import blobs, mlp

__all__ = ["blobs", "mlp"]


def images() -> Data:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(60, 2, 6, 6, generator=generator)
    targets = (inputs.mean((1, 2, 3)) > 0).long() + (inputs[:, 0].mean((1, 2)) > 0).long()
    return Data(inputs[:40], targets[:40], inputs[40:], targets[40:])


def numbers() -> Data:
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(60, 8, generator=generator)
    targets = inputs[:, :3].sin()
    return Data(inputs[:40], targets[:40], inputs[40:], targets[40:])


def conv(width: int = 4) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(2, width), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(width, 3),
    )  # fmt: skip


class Tied(nn.Module):
    """One layer used twice, and one weight that two layers have."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.enter, self.middle, self.other = nn.Linear(8, width), nn.Linear(width, width), nn.Linear(width, width)
        self.other.weight = self.middle.weight
        self.norm, self.leave = nn.BatchNorm1d(width), nn.Linear(width, 3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.enter(x))
        x = F.gelu(self.middle(self.norm(self.middle(x))), approximate="tanh")
        return self.leave(torch.sigmoid(self.other(self.norm(x))))


class Residual(nn.Module):
    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.enter, self.act, self.leave = nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 3)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(inplace=True), nn.Linear(width, width))
            for _ in range(2)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.enter(x))
        for block in self.blocks:
            x = x + 0.5 * block(x)
        return self.leave(x / 2 - 0.1)


class Unused(nn.Module):
    """Parameters that have no gradient: not used, or not wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.spare, self.fixed = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.fixed.weight.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fixed(self.used(x).relu())


class Scaled(nn.Module):
    """A parameter and a buffer of its own, which no layer has."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(8))
        self.register_buffer("sign", torch.randint(0, 2, (8,)) * 2.0 - 1)
        self.leave = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.leave(x * self.gain * self.sign)


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer(x)
        return y if y.sum() > 0 else 2 * y


class Counting(Branching):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.layer(x) * (1 + self.calls % 2)


class Noisy(Branching):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x + 0.1 * torch.randn_like(x) if self.training else x)


class Doubled(torch.autograd.Function):
    """Whose derivative is not that of what it computes: only torch's autograd knows."""

    @staticmethod
    def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: object, gradient: torch.Tensor) -> torch.Tensor:
        return 3 * gradient


class Custom(Branching):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return Doubled.apply(self.layer(x))


def untracked() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8, track_running_stats=False), nn.ReLU(), nn.Linear(8, 3))


def hooked() -> nn.Module:
    model = mlp()
    model[0].register_forward_hook(lambda _module, _inputs, output: 3 * output)
    return model


def halved(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return 0.5 * (outputs - targets).square().sum(1).mean()


def failing(size: int = 1) -> nn.Module:
    if size > 1:
        raise RuntimeError(f"size {size}\ncannot be built")
    return mlp()


def failing_late(width: int = 8) -> nn.Module:
    return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width + 1, 3))


def random_width() -> nn.Module:
    width = int(torch.randint(4, 40, ()))
    return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 3))


def lethal(fatal: bool = False) -> nn.Module:
    """Ends the process that builds it, if it is not the one that has PARENT in its environment's name."""
    import os

    if fatal and os.environ.get("SWEEP_PARENT") != str(os.getpid()):
        os._exit(9)
    return mlp()


def nothing() -> None:
    return None


def lazy() -> nn.Module:
    return nn.LazyLinear(3)
