"""Programs on images and videos."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from programs.pair import Pair, Program, pair
from programs.reported_data import drawn, split


def textures(n: int, classes: int = 6, noise: float = 0.35, spread: float = 0.35) -> tuple[Tensor, Tensor]:
    """Grey images of oriented gratings, less their mean and divided by `spread`."""
    y = torch.randint(0, classes, (n,))
    g = torch.arange(20).float()
    yy, xx = torch.meshgrid(g, g, indexing="ij")
    angle = y.float() * math.pi / classes + 0.1 * torch.randn(n)
    frequency = 0.9 + 0.5 * torch.rand(n)
    phase = 6.28 * torch.rand(n)
    w = frequency[:, None, None] * (angle.cos()[:, None, None] * xx + angle.sin()[:, None, None] * yy)
    image = 0.5 + 0.3 * torch.sin(w + phase[:, None, None]) + noise * torch.randn(n, 20, 20)
    return (image.clamp(0, 1).unsqueeze(1) - 0.5) / spread, y


class ConvNet(nn.Module):
    def __init__(self, registered: bool) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        c = 1
        for w in (12, 24, 24):
            blocks.append(nn.Sequential(nn.Conv2d(c, w, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)))
            c = w
        self.blocks = nn.ModuleList(blocks) if registered else blocks
        self.head = nn.Linear(c, 6)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((2, 3)))


@pair(
    "wiring",
    "optimizer",
    why="conv blocks kept in a plain Python list are not registered: model.parameters() holds only the head, "
    "the filters stay random",
    source="https://discuss.pytorch.org/t/when-should-i-use-nn-modulelist-and-when-should-i-use-nn-sequential/5463",
)
def convs_in_list(faulty: bool) -> Program:
    torch.manual_seed(104)
    x, y = drawn(textures, 20 * 48, held_out=400)
    model = ConvNet(registered=not faulty)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return Program(model, split(48, x, y), nn.CrossEntropyLoss(), optimizer)


class SmallResNet(nn.Module):
    def __init__(self, classes: int, w: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, w, 3, padding=1, bias=False), nn.BatchNorm2d(w), nn.ReLU())
        self.b1 = self._block(w)
        self.b2 = self._block(w)
        self.fc = nn.Linear(w, classes)

    @staticmethod
    def _block(w: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(w, w, 3, padding=1, bias=False),
            nn.BatchNorm2d(w),
            nn.ReLU(),
            nn.Conv2d(w, w, 3, padding=1, bias=False),
            nn.BatchNorm2d(w),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.stem(x), 2)
        x = F.relu(x + self.b1(x))
        x = F.max_pool2d(x, 2)
        x = F.relu(x + self.b2(x))
        return self.fc(x.mean((2, 3)))


def pretrained() -> SmallResNet:
    model = SmallResNet(classes=12)
    batches = split(64, *textures(640, classes=12))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(4):
        for x, y in batches:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    model.zero_grad()
    return model


@pair(
    "optimizer",
    "wiring",
    why="optimizer was made over the old model.fc before the head was replaced: the new head never changes, "
    "accuracy at chance",
    source="symptom: fine-tuning a frozen resnet, loss constant because optimizer was created before "
    "model.fc = nn.Linear(...)",
)
def finetune_head_replaced_late(faulty: bool) -> Program:
    torch.manual_seed(1107)
    model = pretrained()
    model.eval()
    model.requires_grad_(False)
    x, y = drawn(partial(textures, classes=5), 20 * 32, held_out=300)
    old = model.fc
    model.fc = nn.Linear(16, 5)
    head = old.requires_grad_(True) if faulty else model.fc
    optimizer = torch.optim.SGD(head.parameters(), lr=0.05, momentum=0.9)
    return Program(model, split(32, x, y), nn.CrossEntropyLoss(), optimizer)


def tinted(base: Tensor, y: Tensor, between: float) -> Tensor:
    """Noisy images of each class's colour, which varies from image to image."""
    n = len(y)
    return base[y][:, :, None, None] + between * torch.randn(n, 3, 1, 1) + 0.15 * torch.randn(n, 3, 16, 16)


def four_tints(n: int) -> tuple[Tensor, Tensor]:
    y = torch.randint(0, 4, (n,))
    base = torch.tensor([[0.6, 0.3, 0.3], [0.3, 0.6, 0.3], [0.3, 0.3, 0.6], [0.55, 0.55, 0.2]])
    return (tinted(base, y, 0.12).clamp(0, 1) - 0.45) / 0.25, y


class Deep(nn.Module):
    def __init__(self, plain: bool, w: int = 10) -> None:
        super().__init__()
        self.plain = plain
        self.stem = nn.Conv2d(3, w, 3, 2, 1)
        self.layers = nn.ModuleList([nn.Conv2d(w, w, 3, padding=1) for _ in range(16)])
        self.fc = nn.Linear(w, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        for layer in self.layers:
            x = F.relu(layer(x)) if self.plain else x + 0.2 * F.relu(layer(x))
        return self.fc(x.mean((2, 3)))


@pair(
    "depth",
    "init",
    "normalization",
    why="17 plain conv layers without skips or norms at the default init: signal and gradient shrink layer by layer, "
    "loss stuck at ln(4)",
    source="symptom: 'my network stops learning when I add more conv layers', same output for every image",
)
def deep_plain_cnn(faulty: bool) -> Program:
    torch.manual_seed(117)
    x, y = drawn(four_tints, 20 * 24, held_out=400)
    model = Deep(plain=faulty)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    return Program(model, split(24, x, y), nn.CrossEntropyLoss(), optimizer)


class ViT(nn.Module):
    def __init__(self, d: int = 32, p: int = 5) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, d, p, p)
        self.cls = nn.Parameter(torch.zeros(1, 1, d))
        self.pos = nn.Parameter(0.02 * torch.randn(1, 17, d))
        layer = nn.TransformerEncoderLayer(d, 4, 64, dropout=0.0, activation="gelu", batch_first=True)
        self.enc = nn.TransformerEncoder(layer, 2)
        self.norm = nn.LayerNorm(d)
        self.head = nn.Linear(d, 6)

    def forward(self, x: Tensor) -> Tensor:
        t = self.patch(x).flatten(2).transpose(1, 2)
        t = torch.cat([self.cls.expand(len(t), -1, -1), t], 1) + self.pos
        return self.head(self.norm(self.enc(t))[:, 0])


@pair(
    "learning-rate",
    "optimizer",
    why="Adam with lr=0.05 on a vision transformer: after the first jump it predicts the same class for every image",
    source="symptom: ViT from scratch outputs the same class for all inputs, solved by lowering lr to 1e-3 or less",
)
def vit_adam_lr_high(faulty: bool) -> Program:
    torch.manual_seed(120)
    x, y = drawn(partial(textures, noise=0.2, spread=0.3), 20 * 32, held_out=400)
    model = ViT()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05 if faulty else 1e-3)
    return Program(model, split(32, x, y), nn.CrossEntropyLoss(), optimizer)


@pair(
    "normalization",
    why="BatchNorm momentum=0 to 'freeze' it: train mode still uses batch statistics, the running ones stay at 0/1, "
    "so model.eval() gives garbage",
    source="https://discuss.pytorch.org/t/"
    "frozen-batch-normalization-still-shows-different-performance-in-model-train-from-model-eval/25176",
)
def batchnorm_momentum_zero(faulty: bool) -> Program:
    torch.manual_seed(129)
    model = SmallResNet(classes=6)
    if faulty:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.0
    batches = split(40, *textures(16 * 40, spread=0.25))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    return Program(model, batches, nn.CrossEntropyLoss(), optimizer)


def five_tints(n: int) -> tuple[Tensor, Tensor]:
    y = torch.randint(0, 5, (n,))
    base = torch.tensor([[0.5, 0.4, 0.3], [0.3, 0.5, 0.3], [0.3, 0.35, 0.55], [0.5, 0.5, 0.25], [0.4, 0.4, 0.4]])
    return (tinted(base, y, 0.05).clamp(0, 1) - 0.4) / 0.2, y


class Net(nn.Module):
    def __init__(self, groups: int, w: int) -> None:
        super().__init__()
        self.f = nn.Sequential(nn.Conv2d(3, w, 3, 2, 1), nn.ReLU(), nn.Conv2d(w, w, 3, 2, 1), nn.ReLU())
        self.norm = nn.GroupNorm(groups, w)
        self.fc = nn.Linear(w, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.f(x).mean((2, 3))
        return self.fc(self.norm(h))


@pair(
    "normalization",
    why="GroupNorm with as many groups as channels on a pooled vector normalises each number by itself: "
    "output is zero, logits are the bias, one class for all",
    source="symptom: replaced BatchNorm by GroupNorm(num_channels, num_channels) / instance norm after global pooling, "
    "loss constant at ln(C)",
)
def groupnorm_on_vector(faulty: bool) -> Program:
    torch.manual_seed(139)
    x, y = drawn(five_tints, 16 * 48, held_out=400)
    model = Net(24 if faulty else 1, 24)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return Program(model, split(48, x, y), nn.CrossEntropyLoss(), optimizer)


def moving_spots(n: int) -> tuple[Tensor, Tensor]:
    """Videos of six frames whose class is the direction in which a spot moves."""
    y = torch.randint(0, 4, (n,))
    direction = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]])[y]
    p = 4 + 4 * torch.rand(n, 2)
    g = torch.arange(12.0)
    frames: list[Tensor] = []
    for t in range(6):
        q = p + direction * 0.9 * (t - 2.5)
        far = (g[None, None] - q[:, :1, None]) ** 2 + (g[None, :, None] - q[:, 1:, None]) ** 2
        frames.append(torch.exp(-far / 3))
    video = torch.stack(frames, 1).unsqueeze(2)
    return video + 0.35 * torch.randn_like(video), y


class FrameCNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(144, 10),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class CNNLSTM(nn.Module):
    def __init__(self, cut: bool) -> None:
        super().__init__()
        self.cut = cut
        self.cnn = FrameCNN()
        self.lstm = nn.LSTM(10, 24, batch_first=True)
        self.fc = nn.Linear(24, 4)

    def forward(self, v: Tensor) -> Tensor:
        features: list[Tensor] = []
        for t in range(v.shape[1]):
            f = self.cnn(v[:, t])
            features.append(f.data if self.cut else f)
        o, _ = self.lstm(torch.stack(features, 1))
        return self.fc(o[:, -1])


@pair(
    "wiring",
    why="frame features are stored with .data (to save memory), which cuts the graph: the CNN's gradients stay None",
    source="symptom: CNN+LSTM for video, only the LSTM learns, cnn parameters' .grad is None",
)
def video_features_data(faulty: bool) -> Program:
    torch.manual_seed(137)
    x, y = drawn(moving_spots, 24 * 32, held_out=400)
    model = CNNLSTM(cut=faulty)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return Program(model, split(32, x, y), nn.CrossEntropyLoss(), optimizer)


PAIRS: tuple[Pair, ...] = (
    convs_in_list,
    finetune_head_replaced_late,
    deep_plain_cnn,
    vit_adam_lr_high,
    batchnorm_momentum_zero,
    groupnorm_on_vector,
    video_features_data,
)
