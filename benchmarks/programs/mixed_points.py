"""Mixed programs on points in space."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from programs.mixed_data import Batches, split, standardized_whole
from programs.pair import Pair, Program, pair


class PointNet(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.point = nn.Sequential(
            nn.Conv1d(3, 32, 1),
            nn.BatchNorm1d(32),
            nn.ReLU(),
            nn.Conv1d(32, 64, 1),
            nn.BatchNorm1d(64),
            nn.ReLU(),
        )
        self.head = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, classes))

    def forward(self, points: Tensor) -> Tensor:
        return self.head(self.point(points.transpose(1, 2)).amax(2))


def clouds() -> Batches:
    """Points on spheres, cubes, cylinders and cones."""
    n, m = 16 * 24, 64
    y = torch.randint(0, 4, (n,))
    g = torch.randn(n, m, 3)
    sphere = g / g.norm(dim=2, keepdim=True)
    u = 2 * torch.rand(n, m, 3) - 1
    cube = u / u.abs().amax(2, keepdim=True)
    angle = 2 * math.pi * torch.rand(n, m)
    cylinder = torch.stack([angle.cos(), angle.sin(), 2 * torch.rand(n, m) - 1], 2)
    r = torch.rand(n, m)
    cone = torch.stack([r * angle.cos(), r * angle.sin(), 1 - 2 * r], 2)
    points = torch.stack([sphere, cube, cylinder, cone], 1)[torch.arange(n), y]
    points = points * (0.8 + 0.4 * torch.rand(n, 1, 3)) + 0.03 * torch.randn(n, m, 3)
    return split(24, points, y)


@pair(
    "learning-rate",
    "optimizer",
    why="lr=1e-6 with Adam; after many epochs the loss has hardly moved from ln 4",
    source="symptom: 'loss decreases extremely slowly, learning rate 1e-6'",
)
def pointnet_lr_tiny(faulty: bool) -> Program:
    torch.manual_seed(205)
    batches = clouds()
    model = PointNet(4)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-6 if faulty else 1e-3)
    return Program(model, batches, nn.CrossEntropyLoss(), optimizer)


class ClusterEnergy(nn.Module):
    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.emb = nn.Sequential(nn.Linear(3, 24), nn.SiLU(), nn.Linear(24, 6))
        self.pair = nn.Sequential(nn.Linear(1, 24), nn.SiLU(), nn.Linear(24, 1))
        self.self_e = nn.Linear(6, 1)

    def forward(self, positions: Tensor) -> Tensor:
        h = self.emb(positions)
        d2 = (h.unsqueeze(1) - h.unsqueeze(2)).pow(2).sum(-1)
        d = torch.sqrt(d2 + self.eps)
        return self.pair(d.unsqueeze(-1)).mean((1, 2)) + self.self_e(h).mean(1)


def clusters() -> Batches:
    """Seven atoms each, and their Morse energy."""
    n = 20 * 24
    positions = torch.randn(n, 7, 3) * (0.6 + 0.5 * torch.rand(n, 1, 1))
    i, j = torch.triu_indices(7, 7, 1)
    d = torch.cdist(positions, positions)[:, i, j]
    energy = ((1 - torch.exp(-(d - 1.0))) ** 2).mean(1, keepdim=True)
    return split(24, positions, standardized_whole(energy))


@pair(
    "precision",
    why="sqrt of the squared distances with zeros on the diagonal has an infinite slope, gradients are NaN; "
    "all weights NaN after step one",
    source="https://github.com/pytorch/pytorch/pull/2775",
)
def atoms_sqrt_zero_distance(faulty: bool) -> Program:
    torch.manual_seed(306)
    batches = clusters()
    model = ClusterEnergy(0.0 if faulty else 1e-6)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return Program(model, batches, nn.MSELoss(), optimizer)


PAIRS: tuple[Pair, ...] = (pointnet_lr_tiny, atoms_sqrt_zero_distance)
