"""Mixed programs on images."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from programs.mixed_data import Batches, digits, pixels, shapes, split
from programs.pair import Pair, Program, pair


class ShapeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(1, 12, 3, padding=1)
        self.c2 = nn.Conv2d(12, 24, 3, padding=1)
        self.fc = nn.Linear(24 * 4 * 4, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.c1(x)), 2)
        x = F.max_pool2d(F.relu(self.c2(x)), 2)
        return self.fc(x.flatten(1))


def labelled_shapes(shuffled_alone: bool) -> Batches:
    x, y = shapes(16 * 32)
    return split(32, x[torch.randperm(len(x))] if shuffled_alone else x, y)


@pair(
    "data",
    why="images were shuffled without their labels, so that the labels are random to the net; "
    "accuracy on real pairs is chance",
    source="symptom: 'accuracy stays at 1/num_classes, x and y were shuffled separately'",
)
def images_shuffled_alone(faulty: bool) -> Program:
    torch.manual_seed(103)
    batches = labelled_shapes(shuffled_alone=faulty)
    model = ShapeNet()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    return Program(model, batches, nn.CrossEntropyLoss(), optimizer)


def double_conv(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, padding=1),
        nn.BatchNorm2d(n_out),
        nn.ReLU(),
        nn.Conv2d(n_out, n_out, 3, padding=1),
        nn.BatchNorm2d(n_out),
        nn.ReLU(),
    )


class UNet(nn.Module):
    def __init__(self, w: int = 8) -> None:
        super().__init__()
        self.d1, self.d2, self.mid = double_conv(1, w), double_conv(w, 2 * w), double_conv(2 * w, 4 * w)
        self.u2, self.u1 = nn.ConvTranspose2d(4 * w, 2 * w, 2, 2), nn.ConvTranspose2d(2 * w, w, 2, 2)
        self.b2, self.b1 = double_conv(4 * w, 2 * w), double_conv(2 * w, w)
        self.out = nn.Conv2d(w, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.d1(x)
        b = self.d2(F.max_pool2d(a, 2))
        c = self.mid(F.max_pool2d(b, 2))
        c = self.b2(torch.cat([self.u2(c), b], 1))
        c = self.b1(torch.cat([self.u1(c), a], 1))
        return self.out(c)


def blobs(foreground: float) -> Batches:
    n = 12 * 8
    yy, xx = pixels(32)
    mask = torch.zeros(n, 1, 32, 32)
    for i in range(n):
        for _ in range(int(torch.randint(1, 4, (1,)))):
            cx, cy = (4 + 24 * torch.rand(2)).tolist()
            r = 2 + 3 * torch.rand(1).item()
            disc = ((xx - cx) ** 2 + (yy - cy) ** 2) < r * r
            mask[i, 0] = torch.maximum(mask[i, 0], disc.float())
    x = 0.35 + 0.25 * mask + 0.1 * torch.randn(n, 1, 32, 32) + 0.1 * torch.rand(n, 1, 1, 1)
    return split(8, x.clamp(0, 1), mask * foreground)


@pair(
    "data",
    why="the PNG masks are 0/255 and not 0/1; the loss runs to minus thousands and the masks come out far too fat",
    source="https://github.com/milesial/Pytorch-UNet/issues/78",
)
def unet_masks_255(faulty: bool) -> Program:
    torch.manual_seed(105)
    batches = blobs(255.0 if faulty else 1.0)
    model = UNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return Program(model, batches, nn.BCEWithLogitsLoss(), optimizer)


def scaled_digits(twice: bool) -> Batches:
    x, y = digits(20 * 32)
    x = x / 255.0
    return split(32, x / 255.0 if twice else x, y)


@pair(
    "data",
    why="ToTensor scales to 0..1 and the dataset divides by 255 again, "
    "so pixels are 0..0.004 and the loss stands at 2.30",
    source="symptom: 'loss stuck at 2.303 in LeNet; the images were divided by 255 twice'",
)
def lenet_divided_twice(faulty: bool) -> Program:
    torch.manual_seed(106)
    batches = scaled_digits(twice=faulty)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    return Program(model, batches, nn.CrossEntropyLoss(), optimizer)


def leaves(batch_size: int) -> Batches:
    n = 20 * 32
    y = torch.randint(0, 4, (n,))
    yy, xx = torch.meshgrid(torch.linspace(-1, 1, 20), torch.linspace(-1, 1, 20), indexing="ij")
    r, angle = (xx**2 + yy**2).sqrt(), torch.atan2(yy, xx)
    lobes = torch.tensor([2.0, 3.0, 5.0, 7.0])[y]
    phase = 2 * math.pi * torch.rand(n)
    radius = 0.6 + 0.22 * torch.cos(lobes[:, None, None] * angle + phase[:, None, None])
    leaf = (r < radius).float()
    colour = torch.stack([0.25 + 0.1 * torch.rand(n), 0.5 + 0.3 * torch.rand(n), 0.2 + 0.1 * torch.rand(n)], 1)
    x = leaf[:, None] * colour[:, :, None, None] + (1 - leaf[:, None]) * 0.9 + 0.05 * torch.randn(n, 3, 20, 20)
    return split(batch_size, (x.clamp(0, 1) - 0.6) / 0.3, y)[:30]


@pair(
    "batch-size",
    "normalization",
    why="batch_size=2 (out of memory with more) with BatchNorm after linear layers, where two samples become +-1; "
    "the loss hardly falls",
    source="https://github.com/microsoft/CNTK/issues/905",
)
def leaves_batchnorm_two_samples(faulty: bool) -> Program:
    torch.manual_seed(307)
    batches = leaves(2 if faulty else 32)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(800, 48, bias=False),
        nn.BatchNorm1d(48),
        nn.ReLU(),
        nn.Linear(48, 24, bias=False),
        nn.BatchNorm1d(24),
        nn.ReLU(),
        nn.Linear(24, 4),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    return Program(model, batches, nn.CrossEntropyLoss(), optimizer)


class Trunk(nn.Module):
    def __init__(self, skip: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 12, 3, stride=2, padding=1)
        self.layers = nn.ModuleList(nn.Conv2d(12, 12, 3, padding=1) for _ in range(18))
        self.fc = nn.Linear(12 * 16, 5)
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        for a, b in zip(self.layers[::2], self.layers[1::2], strict=True):
            h = b(F.relu(a(x)))
            x = F.relu(x + h) if self.skip else F.relu(h)
        return self.fc(F.adaptive_avg_pool2d(x, 4).flatten(1))


def weaves() -> Batches:
    n, classes = 20 * 16, 5
    y = torch.randint(0, classes, (n,))
    yy, xx = pixels(20)
    direction = (math.pi * y / classes + 0.1 * torch.randn(n))[:, None, None]
    wave = torch.sin(1.1 * (xx * direction.cos() + yy * direction.sin()) + 6.28 * torch.rand(n, 1, 1))
    return split(16, (wave + 0.4 * torch.randn(n, 20, 20)).unsqueeze(1), y)


@pair(
    "depth",
    "init",
    "normalization",
    why="18 plain conv layers without skips or norms; the signal fades with depth and all outputs are the same",
    source="symptom: 'adding more conv layers makes the network stop learning, loss stuck at ln(num_classes)'",
)
def weave_plain_18_layers(faulty: bool) -> Program:
    torch.manual_seed(308)
    batches = weaves()
    model = Trunk(skip=not faulty)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return Program(model, batches, nn.CrossEntropyLoss(), optimizer)


PAIRS: tuple[Pair, ...] = (
    images_shuffled_alone,
    unet_masks_255,
    lenet_divided_twice,
    leaves_batchnorm_two_samples,
    weave_plain_18_layers,
)
