"""Mixed programs that learn codes and distances."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from programs.mixed_data import Batches, shapes, split
from programs.pair import Pair, Program, pair

Code = tuple[Tensor, Tensor, Tensor]


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Sequential(
            nn.Linear(40, 64), nn.LeakyReLU(0.1), nn.Linear(64, 32), nn.LeakyReLU(0.1), nn.Linear(32, 8)
        )

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return F.pairwise_distance(self.emb(a), self.emb(b))


def signatures() -> Batches:
    """Two signatures each, and 1 where one hand wrote both."""
    n, people = 24 * 32, 15
    hands = torch.randn(people, 12)
    features = torch.randn(12, 40) / 12**0.5
    same = (torch.rand(n) < 0.5).float()
    i = torch.randint(0, people, (n,))
    j = torch.where(same > 0, i, (i + torch.randint(1, people, (n,))) % people)
    a = torch.tanh((hands[i] + 0.7 * torch.randn(n, 12)) @ features) + 0.1 * torch.randn(n, 40)
    b = torch.tanh((hands[j] + 0.7 * torch.randn(n, 12)) @ features) + 0.1 * torch.randn(n, 40)
    return split(32, a, b, same)


def contrastive_one_is_same(d: Tensor, y: Tensor) -> Tensor:
    return (y * d**2 + (1 - y) * F.relu(1.0 - d) ** 2).mean()


def contrastive_zero_is_same(d: Tensor, y: Tensor) -> Tensor:
    """As the paper has it."""
    return ((1 - y) * d**2 + y * F.relu(1.0 - d) ** 2).mean()


@pair(
    "loss",
    "data",
    why="contrastive loss takes label 0 for 'same' while the data set has 1 for 'same'; "
    "verification AUC falls below 0.5",
    source="https://github.com/VinhLoiIT/signet-pytorch/issues/2",
)
def signatures_contrastive_swapped(faulty: bool) -> Program:
    torch.manual_seed(201)
    batches = signatures()
    model = Siamese()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return Program(model, batches, contrastive_zero_is_same if faulty else contrastive_one_is_same, optimizer)


class VAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.e1 = nn.Linear(256, 96)
        self.mu, self.lv = nn.Linear(96, 8), nn.Linear(96, 8)
        self.d1, self.d2 = nn.Linear(8, 96), nn.Linear(96, 256)

    def forward(self, x: Tensor) -> Code:
        h = F.relu(self.e1(x.flatten(1)))
        mu, lv = self.mu(h), self.lv(h)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * lv) if self.training else mu
        return torch.sigmoid(self.d2(F.relu(self.d1(z)))), mu, lv


def vae_loss_mean_sum(out: Code, target: Tensor) -> Tensor:
    reconstruction, mu, lv = out
    bce = F.binary_cross_entropy(reconstruction, target.flatten(1))
    kl = -0.5 * torch.sum(1 + lv - mu.pow(2) - lv.exp())
    return bce + kl


def vae_loss_sum_sum(out: Code, target: Tensor) -> Tensor:
    reconstruction, mu, lv = out
    bce = F.binary_cross_entropy(reconstruction, target.flatten(1), reduction="sum")
    kl = -0.5 * torch.sum(1 + lv - mu.pow(2) - lv.exp())
    return (bce + kl) / len(target)


@pair(
    "loss",
    why="reconstruction is averaged over pixels but KL is summed, so KL wins; "
    "every reconstruction is the same blurry mean image",
    source="https://github.com/y0ast/VAE-Torch/issues/11",
)
def vae_mean_vs_sum(faulty: bool) -> Program:
    torch.manual_seed(202)
    x, _ = shapes(16 * 32)
    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return Program(model, split(32, x, x), vae_loss_mean_sum if faulty else vae_loss_sum_sum, optimizer)


PAIRS: tuple[Pair, ...] = (signatures_contrastive_swapped, vae_mean_vs_sum)
