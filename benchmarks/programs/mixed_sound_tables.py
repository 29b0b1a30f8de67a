"""Unusual but sound programs on tables."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from programs.mixed_data import Batches, split, standardized
from programs.pair import Pair, Program, sound


class LoRALinear(nn.Module):
    def __init__(self, base: nn.Linear, rank: int = 4, alpha: int = 8) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.a = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.b = nn.Parameter(torch.zeros(base.out_features, rank))
        self.s = alpha / rank

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.s * (x @ self.a.t()) @ self.b.t()


def pretrained_on(x: Tensor, y: Tensor) -> nn.Sequential:
    model = nn.Sequential(nn.Linear(10, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(250):
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()
    return model


@sound(
    source="low-rank adapters on a frozen pretrained net, their second factor zero at first, "
    "so that training sets out from the pretrained function",
)
def lora_adapters() -> Program:
    torch.manual_seed(402)
    n, d = 16 * 40, 10
    x = torch.randn(n, d)
    w1, w2 = torch.randn(d, 6) / d**0.5, torch.randn(6, 3)
    model = pretrained_on(x, torch.tanh(1.5 * x @ w1) @ w2 / 6**0.5)
    shift = 0.9 * torch.randn(d, 1) @ torch.randn(1, 6) / d**0.5
    y = torch.tanh(1.5 * x @ (w1 + shift)) @ w2 / 6**0.5 + 0.05 * torch.randn(n, 3)
    for i in (0, 2, 4):
        model[i] = LoRALinear(model[i])
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=4e-3)
    return Program(model, split(40, x, standardized(y)), nn.MSELoss(), optimizer)


class ReZero(nn.Module):
    def __init__(self, n_in: int, width: int, depth: int, classes: int) -> None:
        super().__init__()
        self.inp = nn.Linear(n_in, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)) for _ in range(depth)
        )
        self.gain = nn.ParameterList(nn.Parameter(torch.zeros(1)) for _ in range(depth))
        self.out = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inp(x)
        for gain, block in zip(self.gain, self.blocks, strict=True):
            x = x + gain * block(x)
        return self.out(x)


def spiral_arms() -> Batches:
    n = 20 * 32
    y = torch.randint(0, 3, (n,))
    r = 0.3 + 1.6 * torch.rand(n)
    angle = 2.6 * r + 2 * math.pi * y / 3 + 0.12 * torch.randn(n)
    points = torch.stack([r * angle.cos(), r * angle.sin()], 1)
    return split(32, torch.cat([points, 0.5 * torch.randn(n, 3)], 1), y)


@sound(
    source="16 residual blocks times gains that start at zero (ReZero): the blocks get no gradient in the first step, "
    "but the gains do and open them",
)
def deep_zero_branches() -> Program:
    torch.manual_seed(405)
    batches = spiral_arms()
    model = ReZero(5, 40, 16, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, nesterov=True)
    return Program(model, batches, nn.CrossEntropyLoss(), optimizer)


class Ordinal(nn.Module):
    def __init__(self, n_in: int, classes: int) -> None:
        super().__init__()
        self.f = nn.Sequential(nn.Linear(n_in, 32), nn.SiLU(), nn.Linear(32, 1, bias=False))
        self.b0 = nn.Parameter(torch.tensor(1.5))
        self.gap = nn.Parameter(torch.zeros(classes - 2))

    def forward(self, x: Tensor) -> Tensor:
        """The logits of each threshold's being passed."""
        thresholds = torch.cat([self.b0[None], self.b0 - torch.cumsum(F.softplus(self.gap), 0)])
        return self.f(x) + thresholds


def visits(classes: int) -> Batches:
    """A patient's visits to the doctor in a year, as the thresholds that their number passes."""
    n = 16 * 40
    age = 20 + 60 * torch.rand(n)
    bmi = 25 + 4 * torch.randn(n)
    chronic = torch.poisson(torch.full((n,), 0.8))
    km = 30 * torch.rand(n)
    rate = torch.exp(-0.6 + 0.02 * (age - 40) + 0.06 * (bmi - 25) + 0.5 * chronic - 0.03 * km)
    y = torch.poisson(rate).clamp(max=classes - 1)
    x = torch.stack([age, bmi, chronic, km], 1)
    return split(40, standardized(x), (y[:, None] > torch.arange(classes - 1)).float())


@sound(
    source="ordinal regression of counts: one score and five ordered thresholds give five logits that move together, "
    "under binary cross-entropy on cumulative targets",
)
def ordinal_visit_counts() -> Program:
    torch.manual_seed(408)
    batches = visits(6)
    model = Ordinal(4, 6)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return Program(model, batches, nn.BCEWithLogitsLoss(), optimizer)


def bearings() -> tuple[Tensor, Tensor]:
    """The spectra of bearings, of which a fault shows as side bands, and whether there is one."""
    n = 24 * 48
    y = (torch.rand(n) < 0.04).float()
    f = torch.arange(64).float()
    spectrum = torch.exp(-f / 20) + 0.3 * torch.exp(-((f - 25 - torch.randn(n, 1)) ** 2) / 6)
    side = torch.exp(-((f - 31) ** 2) / 3) + torch.exp(-((f - 19) ** 2) / 3)
    spectrum = spectrum + (0.25 + 0.15 * torch.rand(n, 1)) * y[:, None] * side + 0.12 * torch.randn(n, 64)
    return standardized(spectrum), y


@sound(
    source="4 percent positives, about two a batch, balanced by pos_weight at the ratio of the classes, "
    "so that the first loss stands above ln 2",
)
def rare_fault_pos_weight() -> Program:
    torch.manual_seed(410)
    x, y = bearings()
    model = nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 1))
    loss = nn.BCEWithLogitsLoss(pos_weight=(1 - y.mean()) / y.mean())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return Program(model, split(48, x, y.unsqueeze(1)), loss, optimizer)


def parities() -> Batches:
    n = 24 * 64
    x = torch.randint(0, 2, (n, 12)).float() * 2 - 1
    y = (x[:, 1] * x[:, 5] * x[:, 9] > 0).long()
    return split(64, x, y)


@sound(
    source="parity of three of twelve bits: the loss stands at ln 2 for hundreds of steps and then falls, "
    "because no single bit tells anything",
)
def plateau_parity() -> Program:
    torch.manual_seed(412)
    batches = parities()
    model = nn.Sequential(nn.Linear(12, 96), nn.ReLU(), nn.Linear(96, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.12)
    return Program(model, batches, nn.CrossEntropyLoss(), optimizer)


PAIRS: tuple[Pair, ...] = (
    lora_adapters,
    deep_zero_branches,
    ordinal_visit_counts,
    rare_fault_pos_weight,
    plateau_parity,
)
