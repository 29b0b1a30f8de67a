"""Programs on tables: columns of numbers, and users and items."""

from __future__ import annotations

import copy
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from programs.pair import Pair, Program, pair
from programs.reported_data import drawn, split


def from_teacher(w1: Tensor, w2: Tensor, n: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(n, 20)
    return x, ((x @ w1).relu() @ w2).argmax(1)


class MLP(nn.Module):
    def __init__(self, p: float) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(20, 96),
            nn.LayerNorm(96),
            nn.GELU(),
            nn.Dropout(p),
            nn.Linear(96, 96),
            nn.LayerNorm(96),
            nn.GELU(),
            nn.Dropout(p),
            nn.Linear(96, 96),
            nn.LayerNorm(96),
            nn.GELU(),
            nn.Dropout(p),
            nn.Linear(96, 8),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


@pair(
    "normalization",
    why="keep_prob=0.9 of the TensorFlow original was passed as nn.Dropout(0.9): "
    "nine units of ten are dropped in every layer",
    source="symptom: port from TF1 keep_prob, nn.Dropout(p=0.9), training accuracy barely above chance",
)
def dropout_keep_prob(faulty: bool) -> Program:
    torch.manual_seed(115)
    w1, w2 = torch.randn(20, 12) / 4, torch.randn(12, 8)
    x, y = drawn(partial(from_teacher, w1, w2), 24 * 64, held_out=1000)
    model = MLP(0.9 if faulty else 0.1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    return Program(model, split(64, x, y), nn.CrossEntropyLoss(), optimizer)


def min_max_columns(n: int) -> tuple[Tensor, Tensor]:
    x = torch.rand(n, 7)
    s = 3 * (x[:, 0] - 0.5) * (1 + x[:, 1]) + 2 * (x[:, 2] - x[:, 3]) + 2 * (x[:, 4] - 0.5) ** 2 - 0.15
    return x, (s > 0).long()


class CustomModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(7, 60)
        self.fc2 = nn.Linear(60, 100)
        self.fc3 = nn.Linear(100, 30)
        self.fc4 = nn.Linear(30, 2)
        self.apply(self._init_weights)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.constant_(module.bias, 0)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc4(F.relu(self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))))


@pair(
    "learning-rate",
    "optimizer",
    why="plain SGD with lr=1e-4: the saw-shaped loss does not go down in a thousand epochs",
    source="https://discuss.pytorch.org/t/loss-not-converging-on-a-binary-classification-problem/177433",
)
def sgd_lr_1e4(faulty: bool) -> Program:
    torch.manual_seed(119)
    x, y = drawn(min_max_columns, 20 * 16, held_out=1000)
    model = CustomModel()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4 if faulty else 0.1)
    return Program(model, split(16, x, y), nn.CrossEntropyLoss(), optimizer)


def three_classes(w: Tensor, n: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(n, 9)
    y = (x @ w + 1.5 * torch.stack([x[:, 0] * x[:, 1], x[:, 2].abs(), x[:, 3] ** 2 / 2], 1)).argmax(1)
    return x, y


@pair(
    "batch-size",
    "normalization",
    why="BatchNorm1d with batches of two: every unit becomes +1 or -1 whatever its value, "
    "training creeps and eval mode disagrees",
    source="symptom: tabular MLP with BatchNorm1d and batch_size=2, loss noisy and eval accuracy poor",
)
def batchnorm_batch_of_two(faulty: bool) -> Program:
    torch.manual_seed(121)
    w = torch.randn(9, 3)
    model = nn.Sequential(
        nn.Linear(9, 64),
        nn.BatchNorm1d(64),
        nn.ReLU(),
        nn.Linear(64, 64),
        nn.BatchNorm1d(64),
        nn.ReLU(),
        nn.Linear(64, 32),
        nn.BatchNorm1d(32),
        nn.ReLU(),
        nn.Linear(32, 3),
    )
    size = 2 if faulty else 64
    batches = split(size, *three_classes(w, 30 * size))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return Program(model, batches, nn.CrossEntropyLoss(), optimizer)


def piecewise(slopes: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Another function in each of six regions."""
    x = torch.randn(n, 5)
    k = (x[:, 0] > 0).long() * 3 + (x[:, 1] > 0.4).long() + (x[:, 1] > -0.4).long()
    return x, torch.tanh((slopes[k] * x).sum(1, keepdim=True)) + 0.05 * torch.randn(n, 1)


class MoE(nn.Module):
    def __init__(self, cloned: bool, n: int = 6) -> None:
        super().__init__()
        expert = self._expert()
        self.experts = nn.ModuleList([copy.deepcopy(expert) if cloned else self._expert() for _ in range(n)])
        self.gate = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, n))
        nn.init.zeros_(self.gate[-1].weight)
        nn.init.zeros_(self.gate[-1].bias)

    @staticmethod
    def _expert() -> nn.Sequential:
        return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 1))

    def forward(self, x: Tensor) -> Tensor:
        w = self.gate(x).softmax(1)
        return (w[:, :, None] * torch.stack([expert(x) for expert in self.experts], 1)).sum(1)


@pair(
    "init",
    "wiring",
    why="experts are deep copies of one module and the gate starts uniform: all experts get the same gradient "
    "and stay clones, the mixture is one small net",
    source="symptom: mixture-of-experts all experts identical after training (copy.deepcopy(expert) for _ in range(n))",
)
def moe_cloned_experts(faulty: bool) -> Program:
    torch.manual_seed(126)
    slopes = torch.randn(6, 5)
    x, y = drawn(partial(piecewise, slopes), 24 * 64, held_out=1000)
    model = MoE(cloned=faulty)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    return Program(model, split(64, x, y), nn.MSELoss(), optimizer)


def flats(n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Year, area, income, distance and rooms, the same standardised, and whether the flat is sold."""
    year = 1950 + 70 * torch.rand(n)
    area = 30 + 170 * torch.rand(n)
    income = 20000 + 80000 * torch.rand(n)
    distance = 50 + 20000 * torch.rand(n) ** 2
    rooms = torch.randint(1, 7, (n,)).float()
    x = torch.stack([year, area, income, distance, rooms], 1)
    mean, std = torch.tensor([1985.0, 115.0, 60000.0, 6700.0, 3.5]), torch.tensor([20.0, 49.0, 23000.0, 6000.0, 1.7])
    z = (x - mean) / std
    s = z[:, 1] + 0.8 * z[:, 0] * z[:, 4] - z[:, 3].clamp(max=1) + 0.5 * z[:, 2]
    return x, z, (s > 0).float().unsqueeze(1)


@pair(
    "data",
    why="raw columns (income 20000..100000, rooms 1..6, year 1950..2020) go in unscaled: loss starts in the hundreds, "
    "then jumps about; hardly better than the majority class",
    source="symptom: tabular binary classifier, huge first loss then stuck at 0.69, features not standardised",
)
def tabular_unscaled(faulty: bool) -> Program:
    torch.manual_seed(130)
    x, z, y = drawn(flats, 20 * 64, held_out=1000)
    model = nn.Sequential(nn.Linear(5, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return Program(model, split(64, x if faulty else z, y), nn.BCEWithLogitsLoss(), optimizer)


def clicks(users: Tensor, items: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Who saw what, the user's age, visits and spending, and whether there was a click."""
    u, i = torch.randint(0, len(users), (n,)), torch.randint(0, len(items), (n,))
    dense = torch.stack([torch.randn(n), torch.randn(n).exp(), torch.randn(n).mul(1.2).exp()], 1)
    z = 2.0 * (users[u] * items[i]).sum(1) + 1.5 * dense[:, 2] - 1.5 + 0.7 * dense[:, 0]
    dense = (dense - torch.tensor([0.0, 1.65, 2.05])) / torch.tensor([1.0, 2.16, 3.7])
    return torch.stack([u, i], 1), dense, (torch.rand(n) < z.sigmoid()).float()


class DeepFM(nn.Module):
    def __init__(self, sigmoid: bool, d: int = 8) -> None:
        super().__init__()
        self.sigmoid = sigmoid
        self.eu, self.ei = nn.Embedding(60, d), nn.Embedding(80, d)
        nn.init.normal_(self.eu.weight, std=0.2)
        nn.init.normal_(self.ei.weight, std=0.2)
        self.deep = nn.Sequential(nn.Linear(2 * d + 3, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 1))
        self.lin = nn.Linear(3, 1)

    def forward(self, ids: Tensor, dense: Tensor) -> Tensor:
        u, i = self.eu(ids[:, 0]), self.ei(ids[:, 1])
        o = (u * i).sum(1) + self.lin(dense)[:, 0] + self.deep(torch.cat([u, i, dense], 1))[:, 0]
        return torch.sigmoid(o) if self.sigmoid else o


def bce_by_hand(out: Tensor, y: Tensor) -> Tensor:
    return -(y * torch.log(out) + (1 - y) * torch.log(1 - out)).mean()


def bce(out: Tensor, y: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(out, y)


@pair(
    "precision",
    "loss",
    why="hand-written binary cross-entropy on a sigmoid: for big spenders sigmoid rounds to 1.0 in float32, "
    "0*log(0) makes the loss NaN after some iterations",
    source="symptom: click-through model, loss is nan after some iterations, torch.log(1 - torch.sigmoid(x)) by hand",
)
def deepfm_log_zero(faulty: bool) -> Program:
    torch.manual_seed(140)
    users, items = torch.randn(60, 3), torch.randn(80, 3)
    ids, dense, y = drawn(partial(clicks, users, items), 30 * 128, held_out=1500)
    model = DeepFM(sigmoid=faulty)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return Program(model, split(128, ids, dense, y), bce_by_hand if faulty else bce, optimizer)


PAIRS: tuple[Pair, ...] = (
    dropout_keep_prob,
    sgd_lr_1e4,
    batchnorm_batch_of_two,
    moe_cloned_experts,
    tabular_unscaled,
    deepfm_log_zero,
)
