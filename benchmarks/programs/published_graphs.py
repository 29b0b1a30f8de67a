"""Published programs on graphs and point clouds."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from programs.pair import Pair, Program, pair
from programs.published_data import Batches, generator, loader


class PointNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Conv1d(3, 24, 1), nn.ReLU(), nn.Conv1d(24, 48, 1), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(48, 32, bias=False), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.mlp(x).amax(2))


def clouds(batch_size: int, n: int) -> Batches:
    """Points on spheres, cubes and two sorts of ellipsoids."""
    g = generator(250)
    y = torch.arange(n) % 4
    p = torch.randn(n, 64, 3, generator=g)
    sphere = p / p.norm(dim=2, keepdim=True)
    cube = sphere / sphere.abs().amax(2, keepdim=True)
    flat = sphere * torch.tensor([1.15, 1.15, 0.8])
    long = sphere * torch.tensor([0.8, 0.8, 1.2])
    points = torch.stack([sphere, cube, flat, long], 0)[y, torch.arange(n)]
    points = points * (0.85 + 0.3 * torch.rand(n, 1, 1, generator=g)) + 0.03 * torch.randn(n, 64, 3, generator=g)
    return loader((points.transpose(1, 2).contiguous(), y), batch_size, 25)


@pair(
    "batch-size",
    "normalization",
    why="batches of two clouds (memory) with BatchNorm1d on the pooled features: "
    "every feature becomes plus or minus one, accuracy jumps about",
    source="symptom: PointNet/PyTorch issues 'batch size 2 does not converge, 32 does' (BatchNorm1d in the head)",
)
def pointnet_batch_two(faulty: bool) -> Program:
    torch.manual_seed(25)
    model = PointNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return Program(model, clouds(2, 60) if faulty else clouds(32, 960), nn.CrossEntropyLoss(), optimizer)


class GCN(nn.Module):
    """Keeps the nodes in the first dimension, as the original one-graph code did."""

    def __init__(self, use_view: bool) -> None:
        super().__init__()
        self.w1 = nn.Linear(6, 32)
        self.w2 = nn.Linear(32, 32)
        self.fc = nn.Linear(32, 3)
        self.use_view = use_view

    def forward(self, x: Tensor, adj: Tensor) -> Tensor:
        b, k, f = x.shape
        x = x.reshape(k, b, f) if self.use_view else x.transpose(0, 1)
        h = F.relu(self.w1(torch.einsum("bij,jbf->ibf", adj, x)))
        h = F.relu(self.w2(torch.einsum("bij,jbf->ibf", adj, h)))
        return self.fc(h.mean(0))


def molecules() -> Batches:
    g = generator(370)
    n, k = 640, 10
    y = torch.arange(n) % 3
    shares = torch.tensor([[5.0, 3, 2, 1, 1, 1], [1.0, 2, 5, 4, 1, 1], [1.0, 1, 1, 2, 4, 5]])
    x = F.one_hot(torch.multinomial(shares[y], k, replacement=True, generator=g), 6).float()
    a = (torch.rand(n, k, k, generator=g) < 0.2).float()
    a = ((a + a.transpose(1, 2)) > 0).float()
    a = torch.maximum(a, torch.eye(k))
    deg = a.sum(2).pow(-0.5)
    return loader((x, deg[:, :, None] * a * deg[:, None, :], y), 32, 37)


@pair(
    "wiring",
    "data",
    why="reshape(nodes, batch, f) where a transpose was meant: atoms of different molecules are mixed, "
    "accuracy stays low",
    source="symptom: PyTorch forum, view/reshape used instead of transpose/permute scrambles the batch",
)
def gcn_view_not_transpose(faulty: bool) -> Program:
    torch.manual_seed(37)
    model = GCN(use_view=faulty)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return Program(model, molecules(), nn.CrossEntropyLoss(), optimizer)


PAIRS: tuple[Pair, ...] = (pointnet_batch_two, gcn_view_not_transpose)
