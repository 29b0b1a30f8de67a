"""Mixed programs on tables."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from programs.mixed_data import Batches, split, standardized, standardized_whole
from programs.pair import Pair, Program, pair


def loans(scaled: bool) -> Batches:
    n = 20 * 32
    age = 18 + 62 * torch.rand(n)
    income = torch.exp(10.5 + 0.5 * torch.randn(n))
    debt = 150000 * torch.rand(n) ** 2
    years = (age - 18) * torch.rand(n)
    late = torch.poisson(torch.full((n,), 1.2))
    lines = torch.randint(1, 9, (n,)).float()
    score = (debt / income - 1.0) + 0.5 * (late - 1.2) - 0.04 * years + 0.2 * torch.randn(n)
    y = torch.bucketize(score, torch.quantile(score, torch.tensor([0.4, 0.75])))
    x = torch.stack([age, income, debt, years, late, lines], 1)
    return split(32, standardized(x) if scaled else x, y)


@pair(
    "data",
    why="tabular columns in euro and years go in unscaled; the net ends up answering one class for every row",
    source="symptom: 'neural network predicts the same class for every row' (fix: StandardScaler)",
)
def credit_raw_units(faulty: bool) -> Program:
    torch.manual_seed(101)
    batches = loans(scaled=not faulty)
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    return Program(model, batches, nn.CrossEntropyLoss(), optimizer)


def houses(scaled_target: bool) -> Batches:
    n = 16 * 40
    area = 40 + 160 * torch.rand(n)
    rooms = (area / 30 + torch.randn(n)).round().clamp(1, 8)
    built = torch.randint(1920, 2022, (n,)).float()
    distance = 25 * torch.rand(n)
    garden = (torch.rand(n) < 0.4).float()
    price = (
        2600 * area
        + 9000 * rooms
        + 700 * (built - 1950)
        - 5200 * distance * (1 + 0.2 * garden)
        + 38000 * garden
        + 12000 * torch.randn(n)
    ).clamp_min(30000)
    x = torch.stack([area, rooms, built, distance, garden], 1)
    y = price.unsqueeze(1)
    return split(40, standardized(x), standardized_whole(y) if scaled_target else y)


@pair(
    "data",
    why="house prices in dollars (1e5) as regression targets; the loss stays at 1e10 and predictions near zero",
    source="symptom: 'MSE loss is huge (1e10) and does not go down, predictions far below the prices' "
    "(fix: scale the target)",
)
def house_price_dollars(faulty: bool) -> Program:
    torch.manual_seed(102)
    batches = houses(scaled_target=not faulty)
    model = nn.Sequential(nn.Linear(5, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return Program(model, batches, nn.MSELoss(), optimizer)


class BikeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.month = nn.Embedding(12, 4)
        self.net = nn.Sequential(nn.Linear(4 + 5, 48), nn.Tanh(), nn.Linear(48, 24), nn.Tanh(), nn.Linear(24, 1))

    def forward(self, continuous: Tensor, month: Tensor) -> Tensor:
        return self.net(torch.cat([continuous, self.month(month)], 1))


def bikes(column: bool) -> Batches:
    n = 18 * 36
    hour = torch.randint(0, 24, (n,)).float()
    month = torch.randint(0, 12, (n,))
    temperature = 12 - 11 * torch.cos(2 * math.pi * month / 12) + 4 * torch.randn(n)
    humidity, wind = torch.rand(n), torch.rand(n)
    work = (torch.rand(n) < 0.7).float()
    rush = torch.exp(-((hour - 8) ** 2) / 4) + torch.exp(-((hour - 17) ** 2) / 6)
    count = (
        60
        + 8 * temperature
        + 250 * rush * work
        + 120 * (1 - work) * torch.exp(-((hour - 14) ** 2) / 18)
        - 80 * humidity
        - 40 * wind
        + 20 * torch.randn(n)
    )
    y = standardized_whole(count)
    angle = 2 * math.pi * hour / 24
    x = torch.stack([torch.sin(angle), torch.cos(angle), (temperature - 12) / 9, humidity * 2 - 1, work], 1)
    return split(36, x, month, y.unsqueeze(1) if column else y)


@pair(
    "loss",
    "data",
    "wiring",
    why="outputs (N,1) against targets (N,) broadcast to (N,N) in MSELoss; the net predicts the mean for every hour",
    source="https://github.com/pytorch/pytorch/pull/18349",
)
def bikes_broadcast_mse(faulty: bool) -> Program:
    torch.manual_seed(108)
    batches = bikes(column=not faulty)
    model = BikeNet()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=2e-3)
    return Program(model, batches, nn.MSELoss(), optimizer)


def passengers() -> Batches:
    n = 16 * 48
    cabin = torch.randint(1, 4, (n,))
    female = (torch.rand(n) < 0.36).float()
    age = (30 + 14 * torch.randn(n)).clamp(1, 80)
    fare = torch.exp(4.6 - 0.9 * cabin + 0.4 * torch.randn(n))
    siblings = torch.randint(0, 4, (n,)).float()
    child = (age < 10).float()
    logit = 2.5 * (2.6 * female - 1.0 * (cabin - 1) - 0.03 * (age - 30) - 0.3 * siblings + 0.2 * child + 0.3)
    y = (torch.rand(n) < torch.sigmoid(logit)).float().unsqueeze(1)
    numbers = standardized(torch.stack([age, torch.log1p(fare), siblings], 1))
    x = torch.cat([numbers, F.one_hot(cabin - 1, 3).float(), female[:, None]], 1)
    return split(48, x, y)


@pair(
    "activation",
    "loss",
    why="softmax over a single output unit is always 1; accuracy stays at the share of positives "
    "and the loss is constant",
    source="https://stats.stackexchange.com/revisions/2bda6552-783b-4fb7-ba2b-a03d2266e69b/view-source",
)
def passengers_softmax_one_unit(faulty: bool) -> Program:
    torch.manual_seed(203)
    batches = passengers()
    last = nn.Softmax(dim=1) if faulty else nn.Sigmoid()
    model = nn.Sequential(nn.Linear(7, 24), nn.ReLU(), nn.Linear(24, 12), nn.ReLU(), nn.Linear(12, 1), last)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return Program(model, batches, nn.BCELoss(), optimizer)


def genes(columns: int, classes: int) -> Batches:
    n = 16 * 32
    y = torch.randint(0, classes, (n,))
    profiles = 0.5 * torch.randn(classes, columns)
    counts = torch.poisson(torch.exp(1.5 + profiles[y] + 0.7 * torch.randn(n, columns)))
    return split(32, standardized(torch.log1p(counts)), y)


@pair(
    "normalization",
    why="keep_prob=0.9 of the TensorFlow code was taken over as nn.Dropout(p=0.9), which drops 90 percent; "
    "the net underfits",
    source="https://github.com/piergiaj/pytorch-i3d/issues/58",
)
def genes_keep_prob_as_p(faulty: bool) -> Program:
    torch.manual_seed(301)
    batches = genes(120, 5)
    p = 0.9 if faulty else 0.1
    model = nn.Sequential(
        nn.Linear(120, 40),
        nn.ReLU(),
        nn.Dropout(p),
        nn.Linear(40, 24),
        nn.ReLU(),
        nn.Dropout(p),
        nn.Linear(24, 16),
        nn.ReLU(),
        nn.Dropout(p),
        nn.Linear(16, 5),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    return Program(model, batches, nn.CrossEntropyLoss(), optimizer)


class Mixture(nn.Module):
    def __init__(self, registered: bool) -> None:
        super().__init__()
        experts = [nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1)) for _ in range(4)]
        self.experts = nn.ModuleList(experts) if registered else experts
        self.gate = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.softmax(self.gate(x), 1)
        return (weights * torch.cat([expert(x) for expert in self.experts], 1)).sum(1, keepdim=True)


def quadrants() -> Batches:
    """A linear regression with other coefficients in each quadrant of the first two columns."""
    n = 16 * 40
    x = torch.randn(n, 8)
    quadrant = (x[:, 0] > 0).long() * 2 + (x[:, 1] > 0).long()
    coefficients = 1.2 * torch.randn(4, 8)
    y = (coefficients[quadrant] * x).sum(1) + 0.2 * torch.randn(n)
    return split(40, x, standardized_whole(y).unsqueeze(1))


@pair(
    "wiring",
    "optimizer",
    why="the experts are in a Python list, not an nn.ModuleList, so model.parameters() holds the gate alone "
    "and the experts stay random",
    source="https://github.com/pytorch/pytorch/issues/715",
)
def moe_experts_plain_list(faulty: bool) -> Program:
    torch.manual_seed(304)
    batches = quadrants()
    model = Mixture(registered=not faulty)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return Program(model, batches, nn.MSELoss(), optimizer)


PAIRS: tuple[Pair, ...] = (
    credit_raw_units,
    house_price_dollars,
    bikes_broadcast_mse,
    passengers_softmax_one_unit,
    genes_keep_prob_as_p,
    moe_experts_plain_list,
)
