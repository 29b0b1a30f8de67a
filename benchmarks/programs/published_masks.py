"""Published programs that say something of every place of an image."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from programs.pair import Pair, Program, pair
from programs.published_data import Batches, generator, loader


def two_convolutions(a: int, b: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.Conv2d(b, b, 3, padding=1), nn.ReLU())


class MiniUNet(nn.Module):
    def __init__(self, n_in: int, n_out: int, width: int = 8) -> None:
        super().__init__()
        self.d1 = two_convolutions(n_in, width)
        self.d2 = two_convolutions(width, 2 * width)
        self.up = nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.u1 = two_convolutions(2 * width, width)
        self.out = nn.Conv2d(width, n_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.d1(x)
        b = self.d2(F.max_pool2d(a, 2))
        return self.out(self.u1(torch.cat([a, self.up(b)], 1)))


def cells() -> Batches:
    """Microscope crops: background, bright discs (1), dark rings (2)."""
    g = generator(140)
    n, s = 160, 24
    yy, xx = torch.meshgrid(torch.arange(s).float(), torch.arange(s).float(), indexing="ij")
    img = 0.4 + 0.05 * torch.randn(n, 1, s, s, generator=g)
    lab = torch.zeros(n, s, s, dtype=torch.long)
    for i in range(n):
        for c in (1, 2):
            for _ in range(2):
                spot = torch.rand(3, generator=g) * torch.tensor([s, s, 3.0]) + torch.tensor([0, 0, 3.0])
                cy, cx, r = spot.tolist()
                m = ((yy - cy) ** 2 + (xx - cx) ** 2) < r * r
                lab[i][m] = c
                img[i, 0][m] = img[i, 0][m] * 0.2 + (0.75 if c == 1 else 0.1)
    return loader(((img - 0.4) / 0.2, lab), 10, 14)


def ce_view(out: Tensor, target: Tensor) -> Tensor:
    n_classes = out.size(1)
    return F.cross_entropy(out.contiguous().view(-1, n_classes), target.view(-1))


def ce_permute(out: Tensor, target: Tensor) -> Tensor:
    n_classes = out.size(1)
    return F.cross_entropy(out.permute(0, 2, 3, 1).reshape(-1, n_classes), target.view(-1))


@pair(
    "loss",
    "wiring",
    why="(N,C,H,W) logits viewed as (-1,C) without permute: class scores of different pixels are compared, "
    "masks come out as noise",
    source="symptom: PyTorch forum, segmentation with outputs.view(-1, n_classes), answer: permute(0,2,3,1) first",
)
def unet_view_no_permute(faulty: bool) -> Program:
    torch.manual_seed(14)
    model = MiniUNet(1, 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return Program(model, cells(), ce_view if faulty else ce_permute, optimizer)


class SegNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 12, 3, padding=1, bias=False),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.Conv2d(12, 16, 3, padding=2, dilation=2, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.net(x))


def roads() -> Batches:
    g = generator(300)
    n, s = 192, 20
    yy, xx = torch.meshgrid(torch.arange(s).float(), torch.arange(s).float(), indexing="ij")
    th = math.pi * torch.rand(n, 1, 1, generator=g)
    off = 6 * torch.randn(n, 1, 1, generator=g)
    d = ((xx - s / 2) * torch.cos(th) + (yy - s / 2) * torch.sin(th) - off).abs()
    mask = (d < 3).float().unsqueeze(1)
    img = torch.tensor([0.25, 0.45, 0.2]).view(1, 3, 1, 1) + mask * torch.tensor([0.2, 0.0, 0.25]).view(1, 3, 1, 1)
    img = img + 0.15 * torch.randn(n, 3, s, s, generator=g)
    img = (img - img.mean((0, 2, 3), keepdim=True)) / img.std((0, 2, 3), keepdim=True)
    return loader((img, mask), 12, 30)


def dice(out: Tensor, target: Tensor, smooth: float = 1.0) -> Tensor:
    inter = (out * target).sum((1, 2, 3))
    return ((2 * inter + smooth) / (out.sum((1, 2, 3)) + target.sum((1, 2, 3)) + smooth)).mean()


@pair(
    "loss",
    why="the dice coefficient itself is minimised instead of 1 - dice: 'loss' goes to zero and the masks are empty",
    source="https://github.com/akirasosa/mobile-semantic-segmentation/issues/24",
)
def roads_dice_sign(faulty: bool) -> Program:
    torch.manual_seed(30)
    model = SegNet()
    loss = dice if faulty else lambda out, target: 1 - dice(out, target)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return Program(model, roads(), loss, optimizer)


class Detector(nn.Module):
    """Whether there is an object in each of 6x6 cells."""

    def __init__(self, sigmoid: bool) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 10, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(10, 20, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(20, 1, 1),
        )
        self.sigmoid = sigmoid

    def forward(self, x: Tensor) -> Tensor:
        x = self.net(x).flatten(1)
        return torch.sigmoid(x) if self.sigmoid else x


def blobs() -> Batches:
    g = generator(400)
    n = 480
    y = (torch.rand(n, 6, 6, generator=g) < 0.12).float()
    img = F.interpolate(y.unsqueeze(1), scale_factor=4, mode="nearest")
    tex = torch.zeros(4, 4)
    tex[1:3, 1:3] = 1.0
    img = img * tex.repeat(6, 6) + 0.35 * torch.randn(n, 1, 24, 24, generator=g)
    img = (img - img.mean()) / img.std()
    return loader((img, y.flatten(1)), 24, 40)


@pair(
    "loss",
    "activation",
    why="sigmoid in forward and BCEWithLogitsLoss on top: the score of an empty cell cannot go below 0 as a logit, "
    "loss stops at 0.69 and nothing is detected",
    source="symptom: PyTorch forum 'sigmoid twice with BCEWithLogitsLoss'",
)
def detector_double_sigmoid(faulty: bool) -> Program:
    torch.manual_seed(40)
    model = Detector(sigmoid=faulty)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    return Program(model, blobs(), nn.BCEWithLogitsLoss(), optimizer)


PAIRS: tuple[Pair, ...] = (unet_view_no_permute, roads_dice_sign, detector_double_sigmoid)
