"""Programs that learn which two things belong together."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from programs.pair import Pair, Program, pair
from programs.reported_data import drawn, split


def records(prototypes: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Two records and whether they are of one kind; at times the same record was drawn twice."""
    kinds = len(prototypes)
    c1 = torch.randint(0, kinds, (n,))
    same = torch.rand(n) < 0.5
    c2 = torch.where(same, c1, (c1 + torch.randint(1, kinds, (n,))) % kinds)
    a = prototypes[c1] + 0.6 * torch.randn(n, 24)
    b = prototypes[c2] + 0.6 * torch.randn(n, 24)
    twin = same & (torch.rand(n) < 0.06)
    b[twin] = a[twin]
    return a, b, same.float()


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(24, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 16))

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return self.net(a), self.net(b)


def squared(out: tuple[Tensor, Tensor]) -> Tensor:
    return ((out[0] - out[1]) ** 2).sum(1)


def contrasted(d: Tensor, same: Tensor, margin: float = 2.0) -> Tensor:
    return (same * d**2 + (1 - same) * F.relu(margin - d) ** 2).mean()


def contrastive(out: tuple[Tensor, Tensor], same: Tensor) -> Tensor:
    return contrasted(torch.sqrt(squared(out) + 1e-6), same)


def contrastive_without_eps(out: tuple[Tensor, Tensor], same: Tensor) -> Tensor:
    return contrasted(torch.sqrt(squared(out)), same)


@pair(
    "precision",
    "loss",
    "data",
    why="sqrt of an exactly zero distance (a record paired with itself) has an infinite gradient: "
    "weights become NaN in the first iterations",
    source="https://github.com/pytorch/pytorch/issues/2421",
)
def siamese_sqrt_zero(faulty: bool) -> Program:
    torch.manual_seed(108)
    prototypes = torch.randn(30, 24)
    a, b, same = drawn(partial(records, prototypes), 25 * 64, held_out=600)
    model = Siamese()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return Program(model, split(64, a, b, same), contrastive_without_eps if faulty else contrastive, optimizer)


def two_views(mix1: Tensor, mix2: Tensor, n: int) -> tuple[Tensor, Tensor]:
    z = torch.randn(n, 8)
    a = torch.tanh(z @ mix1) + 0.1 * torch.randn(n, 40)
    b = torch.tanh(z @ mix2) + 0.1 * torch.randn(n, 30)
    return a, b


class CLIPlike(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.Linear(40, 64), nn.ReLU(), nn.Linear(64, 24))
        self.b = nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 24))
        self.log_t = nn.Parameter(torch.tensor(math.log(10.0)))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.log_t.exp() * F.normalize(self.a(a), dim=1) @ F.normalize(self.b(b), dim=1).t()


def clip_loss(logits: Tensor, idx: Tensor) -> Tensor:
    return (F.cross_entropy(logits, idx) + F.cross_entropy(logits.t(), idx)) / 2


@pair(
    "batch-size",
    "loss",
    why="in-batch negatives with a batch of one (memory limit): the only candidate is the positive, "
    "the loss is exactly zero from the first step and nothing is learnt",
    source="symptom: CLIP/InfoNCE loss is 0.0 from the start with batch_size=1 and gradient accumulation",
)
def clip_batch_of_one(faulty: bool) -> Program:
    torch.manual_seed(122)
    mix1, mix2 = torch.randn(8, 40) / 3, torch.randn(8, 30) / 3
    size = 1 if faulty else 64
    batches = [(*two_views(mix1, mix2, size), torch.arange(size)) for _ in range(24)]
    # Held out: the weights' draws come after it.
    two_views(mix1, mix2, 200)
    model = CLIPlike()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return Program(model, batches, clip_loss, optimizer)


PAIRS: tuple[Pair, ...] = (siamese_sqrt_zero, clip_batch_of_one)
