"""Programs on graphs, molecules and clouds of points."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from programs.pair import Pair, Program, pair
from programs.reported_data import drawn, split


def adjacency(y: Tensor, alike: float, unlike: float) -> Tensor:
    """Edges with themselves, between nodes of one class at the one rate and of two at the other."""
    n = len(y)
    a = (torch.rand(n, n) < torch.where(y[:, None] == y[None], alike, unlike)).float().triu(1)
    a = a + a.t() + torch.eye(n)
    d = a.sum(1).rsqrt()
    return d[:, None] * a * d[None]


def communities() -> tuple[Tensor, Tensor, Tensor]:
    """Eighty nodes with their class in their features."""
    y = torch.randint(0, 4, (80,))
    a = adjacency(y, 0.18, 0.03)
    x = torch.randn(80, 12)
    x[torch.arange(80), y] += 1.2
    return x, a, y


class GraphConvolution(nn.Module):
    def __init__(self, i: int, o: int, rescaled: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(i, o))
        self.bias = nn.Parameter(torch.zeros(o))
        if rescaled:
            bound = 1.0 / math.sqrt(o)
            nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x: Tensor, a: Tensor) -> Tensor:
        return a @ (x @ self.weight) + self.bias


class GCN(nn.Module):
    def __init__(self, rescaled: bool) -> None:
        super().__init__()
        self.gc1 = GraphConvolution(12, 64, rescaled)
        self.gc2 = GraphConvolution(64, 64, rescaled)
        self.gc3 = GraphConvolution(64, 4, rescaled)

    def forward(self, x: Tensor, a: Tensor) -> Tensor:
        x = F.relu(self.gc1(x, a))
        x = F.relu(self.gc2(x, a))
        return self.gc3(x, a)


@pair(
    "init",
    why="custom graph layer initialised with torch.rand (all positive, no fan-in scaling): loss starts near 30 "
    "and settles at ln(4), one class for every node",
    source="symptom: hand-written GCN layer with nn.Parameter(torch.rand(in, out)) does not learn, PyG's GCNConv does",
)
def gcn_rand_weight(faulty: bool) -> Program:
    torch.manual_seed(101)
    batches = [communities() for _ in range(20)]
    model = GCN(rescaled=not faulty)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    return Program(model, batches, nn.CrossEntropyLoss(), optimizer)


def citations() -> tuple[Tensor, Tensor, Tensor]:
    """Sixty nodes with a few words each, one of them of their class."""
    y = torch.randint(0, 5, (60,))
    a = adjacency(y, 0.15, 0.05)
    x = (torch.rand(60, 20) < 0.08).float()
    x[torch.arange(60), 4 * y + torch.randint(0, 4, (60,))] = 1
    return x, a, y


class DeepGCN(nn.Module):
    def __init__(self, plain: bool, h: int = 32) -> None:
        super().__init__()
        self.plain = plain
        self.inp = nn.Linear(20, h)
        self.convs = nn.ModuleList([nn.Linear(h, h) for _ in range(16)])
        self.out = nn.Linear(h, 5)

    def forward(self, x: Tensor, a: Tensor) -> Tensor:
        h = h0 = F.relu(self.inp(x))
        for conv in self.convs:
            h = F.relu(conv(a @ h)) if self.plain else h + 0.3 * F.relu(conv(0.5 * (a @ h + h0)))
        return self.out(h)


@pair(
    "depth",
    "init",
    why="16 GCN layers one after another: node features become all alike (over-smoothing) and the gradient dies, "
    "accuracy at chance; 2 layers work",
    source="symptom: adding GCNConv layers makes accuracy drop to chance "
    "(cf. https://github.com/RS-KR/GNN-RS-Beginner/issues/12)",
)
def gcn_oversmoothing(faulty: bool) -> Program:
    torch.manual_seed(118)
    model = DeepGCN(plain=faulty)
    # The first eight were held out.
    batches = [citations() for _ in range(8 + 24)][8:]
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=5e-4)
    return Program(model, batches, nn.CrossEntropyLoss(), optimizer)


def molecules(n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Six to twelve atoms of four kinds, their bonds, and an energy."""
    kind = torch.randint(0, 4, (n, 12))
    real = torch.arange(12)[None] < torch.randint(6, 13, (n, 1))
    x = F.one_hot(kind, 4).float() * real[..., None]
    a = (torch.rand(n, 12, 12) < 0.25).float().triu(1)
    a = (a + a.transpose(1, 2)) * real[:, None] * real[..., None]
    w = torch.tensor([0.2, -0.3, 0.5, 0.1])
    e = (x @ w).sum(1) + 0.3 * torch.einsum("bij,bi,bj->b", a, x[..., 0], x[..., 2])
    return x, a, (e - 0.8).unsqueeze(1)


class GIN(nn.Module):
    def __init__(self, h: int = 32) -> None:
        super().__init__()
        self.m1, self.m2 = self._mlp(4, h), self._mlp(h, h)
        self.out = nn.Linear(2 * h, 1)

    @staticmethod
    def _mlp(i: int, h: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(i, h), nn.ReLU(), nn.Linear(h, h), nn.ReLU())

    def forward(self, x: Tensor, a: Tensor) -> Tensor:
        h1 = self.m1(x + a @ x)
        h2 = self.m2(h1 + a @ h1)
        return self.out(torch.cat([h1.mean(1), h2.mean(1)], 1))


@pair(
    "learning-rate",
    "optimizer",
    "precision",
    why="SGD with momentum at lr=0.4 on a molecular regression: the loss explodes within a few steps, "
    "then all predictions are the same or NaN",
    source="symptom: 'loss is nan after the first epoch' in graph regression, solved by a smaller lr",
)
def gin_sgd_lr_high(faulty: bool) -> Program:
    torch.manual_seed(141)
    x, a, y = drawn(molecules, 20 * 50, held_out=400)
    model = GIN()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.4 if faulty else 0.02, momentum=0.9)
    return Program(model, split(50, x, a, y), nn.MSELoss(), optimizer)


def solids(n: int) -> tuple[Tensor, Tensor]:
    """Points on spheres, cubes, cylinders and cones."""
    y = torch.randint(0, 4, (n,))
    p = torch.randn(n, 40, 3)
    sphere = p / p.norm(dim=2, keepdim=True)
    cube = 2 * torch.rand(n, 40, 3) - 1
    j = torch.randint(0, 3, (n, 40, 1))
    cube = cube.scatter(2, j, torch.sign(cube.gather(2, j)))
    cylinder = torch.cat([F.normalize(p[..., :2], dim=2), 2 * torch.rand(n, 40, 1) - 1], 2)
    cone = torch.cat([cylinder[..., :2] * (1 - cylinder[..., 2:]) / 2, cylinder[..., 2:]], 2)
    x = torch.stack([sphere, cube, cylinder, cone], 1)[torch.arange(n), y]
    return x * (0.9 + 0.2 * torch.rand(n, 1, 1)) + 0.03 * torch.randn(n, 40, 3), y


class PointNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.point = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 96))
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(96, 48), nn.ReLU(), nn.Linear(48, 4))

    def forward(self, p: Tensor) -> Tensor:
        return self.head(self.point(p).amax(1))


@pair(
    "optimizer",
    why="weight_decay=0.1 given to Adam (L2) against overfitting: weights are pulled to zero, "
    "every shape gets the same class",
    source="symptom: loss goes up to ln(C) and stays there, predictions identical, weight_decay=0.1 in Adam",
)
def pointnet_weight_decay(faulty: bool) -> Program:
    torch.manual_seed(124)
    x, y = drawn(solids, 20 * 48, held_out=400)
    model = PointNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=0.1 if faulty else 1e-4)
    return Program(model, split(48, x, y), nn.CrossEntropyLoss(), optimizer)


PAIRS: tuple[Pair, ...] = (gcn_rand_weight, gcn_oversmoothing, gin_sgd_lr_high, pointnet_weight_decay)
