"""Published programs that classify images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from programs.pair import Pair, Program, pair
from programs.published_data import Batches, generator, glyphs, loader


class LeNet(nn.Module):
    def __init__(self, n_classes: int, softmax: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 5, padding=2)
        self.conv2 = nn.Conv2d(8, 16, 5)
        self.fc1 = nn.Linear(16 * 4 * 4, 84)
        self.fc2 = nn.Linear(84, n_classes)
        self.softmax = softmax

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(x.flatten(1)))
        x = self.fc2(x)
        return F.softmax(x, dim=1) if self.softmax else x


def digits() -> Batches:
    x, y = glyphs(960, 10, 24, 20, noise=0.25, shift=4)
    return loader(((x - 0.3) / 0.4, y), 48, 2)


@pair(
    "loss",
    "activation",
    why="F.softmax at the end of forward although nn.CrossEntropyLoss applies log-softmax itself: "
    "loss creeps down from 2.30 very slowly",
    source="https://stackoverflow.com/questions/55675345",
)
def lenet_softmax_ce(faulty: bool) -> Program:
    torch.manual_seed(2)
    model = LeNet(10, softmax=faulty)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Program(model, digits(), nn.CrossEntropyLoss(), optimizer)


def letters(divisor: float) -> Batches:
    x, y = glyphs(1000, 8, 20, 50, noise=0.15)
    x = (x * 255).round()
    return loader((x.flatten(1) / divisor, y), 50, 5)


@pair(
    "data",
    "activation",
    why="pixels left at 0..255, the sigmoid units saturate and accuracy stays far below that with x/255",
    source="symptom: MNIST MLP with low accuracy, answer: divide by 255",
)
def mlp_pixels_255(faulty: bool) -> Program:
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(400, 128), nn.Sigmoid(), nn.Linear(128, 8))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    return Program(model, letters(1.0 if faulty else 255.0), nn.CrossEntropyLoss(), optimizer)


def signs() -> Batches:
    x, y = glyphs(720, 6, 24, 80, channels=3, noise=0.12)
    return loader(((x - 0.32) / 0.38, y), 36, 8)


@pair(
    "learning-rate",
    why="Adam with lr=0.05: loss jumps in the first steps and then sits at log(6), one class predicted",
    source="symptom: 'CNN always predicts the same class', answer: lower the Adam learning rate to 1e-3",
)
def cnn_adam_lr_high(faulty: bool) -> Program:
    torch.manual_seed(8)
    model = nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(12, 24, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(24, 24, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(24 * 9, 64),
        nn.ReLU(),
        nn.Linear(64, 6),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05 if faulty else 1e-3)
    return Program(model, signs(), nn.CrossEntropyLoss(), optimizer)


class Backbone(nn.Module):
    def __init__(self, n_out: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.fc = nn.Linear(32 * 16, n_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x).flatten(1))


def pretrained_backbone() -> Backbone:
    """Stands for torchvision's pretrained weights: trained on another set of symbols."""
    torch.manual_seed(100)
    model = Backbone(12)
    x, y = glyphs(480, 12, 16, 101)
    x = (x - 0.3) / 0.4
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(4):
        for images, classes in loader((x, y), 48, 1):
            optimizer.zero_grad()
            F.cross_entropy(model(images), classes).backward()
            optimizer.step()
    for parameter in model.parameters():
        parameter.grad = None
    return model


def ants_and_bees() -> Batches:
    x, y = glyphs(400, 4, 16, 102, noise=0.2)
    return loader(((x - 0.3) / 0.4, y), 25, 10)


@pair(
    "optimizer",
    "wiring",
    why="model.fc was replaced after the optimizer was made, so the optimizer holds the old head and nothing changes",
    source="symptom: PyTorch forum, transfer learning 'loss does not change after replacing model.fc'",
)
def finetune_optimizer_before_head(faulty: bool) -> Program:
    model = pretrained_backbone()
    old_head = model.fc
    for parameter in model.parameters():
        parameter.requires_grad = False
    torch.manual_seed(10)
    model.fc = nn.Linear(32 * 16, 4)
    optimizer = torch.optim.Adam((old_head if faulty else model.fc).parameters(), lr=1e-3)
    return Program(model, ants_and_bees(), nn.CrossEntropyLoss(), optimizer)


class FashionNet(nn.Module):
    def __init__(self, relu_out: bool) -> None:
        super().__init__()
        self.fc1 = nn.Linear(196, 64)
        self.fc2 = nn.Linear(64, 32)
        self.fc3 = nn.Linear(32, 8)
        self.relu_out = relu_out

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(x.size(0), -1)
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        x = self.fc3(x)
        return F.relu(x) if self.relu_out else x


def fashion() -> Batches:
    x, y = glyphs(1000, 8, 14, 210, noise=0.35, shift=3)
    return loader(((x - x.mean()) / x.std(), y), 50, 21)


@pair(
    "activation",
    why="ReLU applied to the last layer too: scores of several classes are stuck at 0 "
    "and those classes are never predicted",
    source="symptom: PyTorch forum 'some classes never predicted', answer: remove the relu after the last linear layer",
)
def fashion_relu_logits(faulty: bool) -> Program:
    torch.manual_seed(2)
    model = FashionNet(relu_out=faulty)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    return Program(model, fashion(), nn.CrossEntropyLoss(), optimizer)


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(256, 16, bias=False),
        )

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return self.net(a), self.net(b)


def signature_pairs() -> Batches:
    """Pairs of which now and then one is a specimen with itself."""
    x, c = glyphs(400, 10, 16, 260, noise=0.08, shift=1)
    g = generator(261)
    x = (x - 0.3) / 0.4
    same = torch.arange(400) % 2
    partner = torch.empty(400, dtype=torch.long)
    for k in range(400):
        pool = torch.nonzero(c == c[k] if same[k] else c != c[k]).flatten()
        partner[k] = pool[torch.randint(0, len(pool), (1,), generator=g)]
    return loader((x, x[partner], same.float()), 25, 26)


def contrastive(eps: float) -> Callable[[tuple[Tensor, Tensor], Tensor], Tensor]:
    def loss(out: tuple[Tensor, Tensor], same: Tensor) -> Tensor:
        d = torch.sqrt(((out[0] - out[1]) ** 2).sum(1) + eps)
        return (same * d**2 + (1 - same) * F.relu(1.0 - d) ** 2).mean()

    return loss


@pair(
    "precision",
    "loss",
    why="torch.sqrt of a distance that is exactly 0 when an image is paired with itself: "
    "gradient 0*inf, weights nan after some batches",
    source="symptom: PyTorch forum/GitHub 'contrastive loss becomes nan', answer: add eps inside sqrt",
)
def siamese_sqrt_zero(faulty: bool) -> Program:
    torch.manual_seed(26)
    model = Siamese()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return Program(model, signature_pairs(), contrastive(0.0 if faulty else 1e-6), optimizer)


class ConvBlock(nn.Module):
    def __init__(self, channels: int, skip: bool) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.c2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        h = self.c2(F.relu(self.c1(x)))
        return F.relu(x + h) if self.skip else F.relu(h)


class DeepConvNet(nn.Module):
    def __init__(self, skip: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(*[ConvBlock(8, skip) for _ in range(11)])
        self.fc = nn.Linear(8 * 16, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.relu(self.stem(x)))
        return self.fc(F.max_pool2d(x, 2).flatten(1))


def defects() -> Batches:
    x, y = glyphs(480, 6, 16, 270, noise=0.1, shift=1)
    return loader(((x - x.mean()) / x.std(), y), 20, 27)


@pair(
    "depth",
    "init",
    why="23 convolutions in a row without shortcuts or normalization: gradient vanishes, loss stays at log(6)",
    source="symptom: 'deeper CNN does not learn while the shallow one does', answer: residual connections",
)
def deep_conv_no_skip(faulty: bool) -> Program:
    torch.manual_seed(27)
    model = DeepConvNet(skip=not faulty)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return Program(model, defects(), nn.CrossEntropyLoss(), optimizer)


def symbols(shuffled_alone: bool) -> Batches:
    x, y = glyphs(1500, 6, 16, 330, noise=0.15, shift=2)
    x = (x - x.mean()) / x.std()
    if shuffled_alone:
        x = x[torch.randperm(1500, generator=generator(331))]
    return loader((x, y), 50, 33)


@pair(
    "data",
    why="np.random.shuffle on the images only: labels no longer belong to them, training accuracy crawls by memorising",
    source="symptom: SO 'accuracy stays at chance', images and labels shuffled separately (defects4ML)",
)
def images_shuffled_alone(faulty: bool) -> Program:
    torch.manual_seed(33)
    model = nn.Sequential(
        nn.Conv2d(1, 12, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, 24, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(96, 6),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    return Program(model, symbols(shuffled_alone=faulty), nn.CrossEntropyLoss(), optimizer)


PAIRS: tuple[Pair, ...] = (
    lenet_softmax_ce,
    mlp_pixels_255,
    cnn_adam_lr_high,
    finetune_optimizer_before_head,
    fashion_relu_logits,
    siamese_sqrt_zero,
    deep_conv_no_skip,
    images_shuffled_alone,
)
