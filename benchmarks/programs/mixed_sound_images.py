"""Unusual but sound programs on images and volumes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from programs.mixed_data import Batches, digits, shapes, split
from programs.pair import Pair, Program, sound


class FrozenTrunk(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(1, 8, 5, stride=2, padding=2),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(784, 48),
            nn.ReLU(),
        )
        self.head = nn.Linear(48, 5)

    def train(self, mode: bool = True) -> FrozenTrunk:
        super().train(mode)
        # Frozen batch norms keep their statistics.
        self.trunk.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(x))


def pretrain(model: FrozenTrunk, x: Tensor, y: Tensor) -> None:
    nn.Module.train(model)
    model.trunk.train(True)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(60):
        rows = torch.randperm(len(x))[:48]
        optimizer.zero_grad()
        F.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
    model.trunk.requires_grad_(False)


@sound(
    source="a new head on a pretrained trunk that is frozen and stays in eval mode, for its batch norms' statistics, "
    "with the head alone in the optimizer",
)
def frozen_pretrained_trunk() -> Program:
    torch.manual_seed(401)
    x, y = digits(900)
    x = x / 255.0
    model = FrozenTrunk()
    old = y < 5
    pretrain(model, x[old], y[old])
    model.head = nn.Linear(48, 5)
    model.train()
    batches = split(20, x[~old][:400], y[~old][:400] - 5)
    optimizer = torch.optim.AdamW(model.head.parameters(), lr=3e-3, weight_decay=1e-2)
    return Program(model, batches, nn.CrossEntropyLoss(), optimizer)


def real_and_blurred() -> Batches:
    """Images, and blurred ones as a generator makes them."""
    real, _ = shapes(256)
    fake, _ = shapes(256)
    k = torch.tensor([1.0, 2.0, 1.0])
    k = (k[:, None] * k[None] / 16).view(1, 1, 3, 3)
    blurred = F.conv2d(F.pad(fake, (1, 1, 1, 1), mode="replicate"), k)
    fake = (blurred + 0.06 * torch.randn_like(fake)).clamp(0, 1)
    x = torch.cat([real, fake]) * 2 - 1
    y = torch.cat([torch.ones(256, 1), -torch.ones(256, 1)])
    order = torch.randperm(512)
    return split(32, x[order], y[order])


def hinge(out: Tensor, target: Tensor) -> Tensor:
    return F.relu(1 - target * out).mean()


@sound(
    source="a critic of generated images with spectral norm in every layer, hinge loss on +-1 and beta1=0.5, "
    "as is usual for adversaries",
)
def spectral_norm_critic() -> Program:
    torch.manual_seed(403)
    batches = real_and_blurred()
    model = nn.Sequential(
        spectral_norm(nn.Conv2d(1, 16, 4, 2, 1)),
        nn.LeakyReLU(0.2),
        spectral_norm(nn.Conv2d(16, 32, 4, 2, 1)),
        nn.LeakyReLU(0.2),
        spectral_norm(nn.Conv2d(32, 48, 3, 1, 1)),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        spectral_norm(nn.Linear(768, 1)),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.5, 0.9))
    return Program(model, batches, hinge, optimizer)


def volumes() -> Batches:
    """Scans of ellipsoids in Hounsfield units, brought to 0..1, two at a time, and their masks."""
    n = 60
    g = torch.stack(torch.meshgrid(*[torch.arange(12.0)] * 3, indexing="ij"))
    mask = torch.zeros(n, 1, 12, 12, 12)
    for i in range(n):
        centre = 3 + 6 * torch.rand(3, 1, 1, 1)
        axes = 1.5 + 2 * torch.rand(3, 1, 1, 1)
        mask[i, 0] = ((((g - centre) / axes) ** 2).sum(0) < 1).float()
    hounsfield = 40 + 60 * mask + 25 * torch.randn(n, 1, 12, 12, 12)
    return split(2, ((hounsfield + 50) / 200).clamp(0, 1), mask)


def dice_bce(out: Tensor, target: Tensor) -> Tensor:
    p = torch.sigmoid(out)
    volume = (1, 2, 3, 4)
    dice = 1 - (2 * (p * target).sum(volume) + 1) / (p.sum(volume) + target.sum(volume) + 1)
    return F.binary_cross_entropy_with_logits(out, target) + dice.mean()


@sound(
    source="3d volumes two at a time with group norm, which needs no statistics over the batch, "
    "and the dice loss beside the cross-entropy of logits",
)
def tiny_batches_group_norm() -> Program:
    torch.manual_seed(411)
    batches = volumes()
    model = nn.Sequential(
        nn.Conv3d(1, 8, 3, padding=1),
        nn.GroupNorm(2, 8),
        nn.ReLU(),
        nn.Conv3d(8, 16, 3, padding=1),
        nn.GroupNorm(4, 16),
        nn.ReLU(),
        nn.Conv3d(16, 1, 1),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    return Program(model, batches, dice_bce, optimizer)


PAIRS: tuple[Pair, ...] = (frozen_pretrained_trunk, spectral_norm_critic, tiny_batches_group_norm)
