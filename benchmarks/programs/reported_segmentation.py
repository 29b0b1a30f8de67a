"""Programs that find the object's pixels in an image."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from programs.pair import Pair, Program, pair
from programs.reported_data import drawn, split


def discs(n: int) -> tuple[Tensor, Tensor]:
    """Grey images 0..1 of one disc in noise, and where it is."""
    g = torch.arange(24).float()
    cx, cy = 5 + 14 * torch.rand(n, 1, 1), 5 + 14 * torch.rand(n, 1, 1)
    r = 3.0 + 3.0 * torch.rand(n, 1, 1)
    mask = ((g[None, None] - cx) ** 2 + (g[None, :, None] - cy) ** 2 < r**2).float()
    image = 0.35 + 0.25 * mask + 0.2 * torch.randn(n, 24, 24) + 0.1 * torch.randn(n, 1, 1)
    return image.clamp(0, 1).unsqueeze(1), mask.unsqueeze(1)


def group_norm(channels: int) -> nn.Module:
    return nn.GroupNorm(4, channels)


class UNet(nn.Module):
    def __init__(self, norm: Callable[[int], nn.Module], w: int = 8) -> None:
        super().__init__()

        def block(i: int, o: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(i, o, 3, padding=1), norm(o), nn.ReLU())

        self.d1, self.d2, self.mid = block(1, w), block(w, 2 * w), block(2 * w, 4 * w)
        self.u2 = nn.ConvTranspose2d(4 * w, 2 * w, 2, 2)
        self.c2 = block(4 * w, 2 * w)
        self.u1 = nn.ConvTranspose2d(2 * w, w, 2, 2)
        self.c1 = block(2 * w, w)
        self.out = nn.Conv2d(w, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.d1(x)
        b = self.d2(F.max_pool2d(a, 2))
        c = self.mid(F.max_pool2d(b, 2))
        b = self.c2(torch.cat([self.u2(c), b], 1))
        a = self.c1(torch.cat([self.u1(b), a], 1))
        return self.out(a)


@pair(
    "data",
    "loss",
    why="PNG masks were loaded as 0/255 instead of 0/1: BCE goes to large negative values "
    "and the net paints nearly everything white",
    source="symptom: U-Net, BCEWithLogitsLoss negative and falling without end, mask values 255",
)
def unet_mask_255(faulty: bool) -> Program:
    torch.manual_seed(116)
    x, y = drawn(discs, 14 * 16, held_out=100)
    model = UNet(group_norm)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return Program(model, split(16, x, y * 255 if faulty else y), nn.BCEWithLogitsLoss(), optimizer)


class BNUNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = UNet(nn.BatchNorm2d)
        self.net.out = nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def tissues(n: int) -> tuple[Tensor, Tensor]:
    """Like X-rays: the whole image's exposure tells wet (2) from dry (1) tissue; 0 is the ground."""
    image, mask = discs(n)
    wet = torch.rand(n, 1, 1, 1) < 0.5
    image = image + torch.where(wet, 0.8, 0.0)
    y = (mask * torch.where(wet, 2.0, 1.0)).long()[:, 0]
    return (image - 0.8) / 0.5, y


@pair(
    "batch-size",
    "normalization",
    why="U-Net with BatchNorm2d trained with batch_size=1 (memory): each image is normalised by itself, "
    "exposure is lost and model.eval() gives far worse masks than train mode",
    source="https://discuss.pytorch.org/t/what-does-model-eval-do-for-batchnorm-layer/7146",
)
def unet_batchnorm_batch_one(faulty: bool) -> Program:
    torch.manual_seed(143)
    size = 1 if faulty else 16
    x, y = drawn(tissues, 20 * size, held_out=120)
    model = BNUNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return Program(model, split(size, x, y), nn.CrossEntropyLoss(), optimizer)


PAIRS: tuple[Pair, ...] = (unet_mask_255, unet_batchnorm_batch_one)
