"""Architectures on which the rules are judged: other networks, on other data but for the Markov chain's tokens."""

from __future__ import annotations

from functools import lru_cache

import lr_settings
import torch
from torch import nn
from torch.nn import functional as F

from accuracy.parts import Attended, Recurrent, Residual, Turned, attention_block, initialized
from accuracy.setup import Architecture, Recipe
from gainstage import sweep


def layer_normed(more: int = 0) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten(), nn.Linear(196, 64), nn.LayerNorm(64), nn.GELU()]
    for _ in range(2 + more):
        layers += [nn.Linear(64, 64), nn.LayerNorm(64), nn.GELU()]
    return nn.Sequential(*layers, nn.Linear(64, 10))


def shallow_sigmoid() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(196, 80), nn.Sigmoid(), nn.Linear(80, 10))


def leaky(more: int = 0) -> nn.Module:
    layers: list[nn.Module] = [nn.Linear(16, 64), nn.LeakyReLU(0.1)]
    for _ in range(3 + more):
        layers += [nn.Linear(64, 64), nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers, nn.Linear(64, 4))


class LeNet(nn.Module):
    """Tanh, average pooling, three linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.pool = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 12, 3), nn.AvgPool2d(2)
        self.act1, self.act2, self.act3 = nn.Tanh(), nn.Tanh(), nn.Tanh()
        self.fc1, self.fc2 = nn.Linear(48, 64), nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.act1(self.conv1(x)))
        x = self.pool(self.act2(self.conv2(x)))
        return self.fc2(self.act3(self.fc1(x.flatten(1))))


def group_normed_resnet() -> nn.Module:
    def block() -> nn.Module:
        return Residual(nn.Sequential(
            nn.GroupNorm(4, 12), nn.SiLU(), nn.Conv2d(12, 12, 3, padding=1, bias=False),
            nn.GroupNorm(4, 12), nn.SiLU(), nn.Conv2d(12, 12, 3, padding=1, bias=False),
        ))  # fmt: skip

    return nn.Sequential(
        nn.Conv2d(1, 12, 3, 2, 1), block(), block(), nn.GroupNorm(4, 12), nn.SiLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48, 10),
    )  # fmt: skip


def depthwise(more: int = 0) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(1, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6()]
    for _ in range(2 + more):
        layers += [
            nn.Conv2d(16, 16, 3, 1, 1, groups=16, bias=False), nn.BatchNorm2d(16), nn.ReLU6(),
            nn.Conv2d(16, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6(),
        ]  # fmt: skip
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 10))


def wave_reader() -> nn.Module:
    return Recurrent(nn.Identity(), nn.GRU(1, 32, num_layers=1, batch_first=True), 1)


def vision_transformer() -> nn.Module:
    stem = nn.Sequential(nn.Conv2d(1, 32, 4, 4, padding=1), nn.Flatten(2), Turned())
    return Attended(stem, 16, nn.Sequential(attention_block(32), attention_block(32)), 32, 10, last=False)


def autoencoder() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, 2, 1), nn.ReLU(), nn.Conv2d(12, 24, 3, 2, 1), nn.ReLU(),
        nn.Flatten(), nn.Linear(384, 24), nn.Linear(24, 384), nn.ReLU(), nn.Unflatten(1, (24, 4, 4)),
        nn.ConvTranspose2d(24, 12, 3, 2, 1), nn.ReLU(), nn.ConvTranspose2d(12, 1, 4, 2, 1),
    )  # fmt: skip


class SmallUNet(nn.Module):
    """One level down and up, with the skip concatenated, and batch norms."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.inner = _convolved(1, 10, 1), _convolved(10, 20, 2)
        self.up, self.last = nn.ConvTranspose2d(20, 10, 2, 2), _convolved(20, 10, 1)
        self.head = nn.Conv2d(10, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        down = self.down(x)
        return self.head(self.last(torch.cat([down, self.up(self.inner(down))], 1)))


def _convolved(before: int, after: int, stride: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1), nn.BatchNorm2d(after), nn.ReLU())


def language_model() -> nn.Module:
    return Recurrent(nn.Embedding(8, 24), nn.LSTM(24, 40, batch_first=True), 8, last=False)


def mixer() -> nn.Module:
    def block() -> list[nn.Module]:
        tokens = nn.Sequential(
            nn.LayerNorm(16), Turned(), nn.Linear(49, 24), nn.GELU(), nn.Linear(24, 49), Turned(),
        )  # fmt: skip
        channels = nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        return [Residual(tokens), Residual(channels)]

    stem = [nn.Conv2d(1, 16, 2, 2), nn.Flatten(2), Turned()]
    return nn.Sequential(*stem, *block(), *block(), nn.LayerNorm(16), nn.Flatten(), nn.Linear(784, 10))


def residual_binary() -> nn.Module:
    """Branches without norms, scaled by the root of their number; a sigmoid of its own at the end."""

    def branch() -> nn.Module:
        return nn.Sequential(nn.ELU(), nn.Linear(40, 40), nn.ELU(), nn.Linear(40, 40))

    blocks = [Residual(branch(), scale=8**-0.5) for _ in range(8)]
    model = initialized(nn.Sequential(nn.Linear(6, 40), *blocks, nn.ELU(), nn.Linear(40, 1)), nn.init.xavier_normal_)
    return nn.Sequential(model, nn.Sigmoid())


def _split(inputs: torch.Tensor, targets: torch.Tensor) -> sweep.Data:
    held = len(inputs) // 5
    return sweep.Data(inputs[held:], targets[held:], inputs[:held], targets[:held])


@lru_cache
def mixture() -> sweep.Data:
    """Four classes, each of three Gaussian clouds."""
    draw = torch.Generator().manual_seed(5)
    centres = torch.randn(12, 16, generator=draw)
    picked = torch.randint(12, (4000,), generator=draw)
    inputs = centres[picked] + 0.9 * torch.randn(4000, 16, generator=draw)
    return _split(inputs / inputs.std(), picked % 4)


@lru_cache
def waves() -> sweep.Data:
    """The frequency of a noisy sine."""
    draw = torch.Generator().manual_seed(6)
    frequency, phase = torch.rand(3000, 1, generator=draw), torch.rand(3000, 1, generator=draw)
    inputs = torch.sin((0.3 + 1.2 * frequency) * torch.arange(16) + 6.3 * phase)
    inputs = (inputs + 0.2 * torch.randn(3000, 16, generator=draw))[:, :, None]
    return _split(inputs, (frequency - 0.5) * 12**0.5)


@lru_cache
def quadratic_sign() -> sweep.Data:
    """Whether a random quadratic form is positive."""
    draw = torch.Generator().manual_seed(7)
    inputs, form = torch.randn(4000, 6, generator=draw), torch.randn(6, 6, generator=draw)
    return _split(inputs, ((inputs @ form * inputs).sum(1, keepdim=True) > 0).float())


@lru_cache
def images_themselves() -> sweep.Data:
    found = lr_settings.mnist()
    return sweep.Data(found.train_inputs, found.train_inputs, found.test_inputs, found.test_inputs)


@lru_cache
def noisy_images() -> sweep.Data:
    """Images under noise, and without it."""
    found, draw = lr_settings.mnist(), torch.Generator().manual_seed(8)
    noisy = [x + 0.7 * torch.randn(x.shape, generator=draw) for x in (found.train_inputs, found.test_inputs)]
    return sweep.Data(noisy[0], found.train_inputs, noisy[1], found.test_inputs)


@lru_cache
def sentences() -> sweep.Data:
    """Tokens of the chain, and at every place the next one."""
    found = lr_settings.chain()
    parts = found.train_inputs, found.test_inputs
    return sweep.Data(parts[0][:, :-1], parts[0][:, 1:], parts[1][:, :-1], parts[1][:, 1:])


def every_token(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(outputs.flatten(0, -2), targets.flatten())


HELD_OUT = (
    Architecture("mlp-layer-norm", layer_normed, lr_settings.mnist, lambda: F.cross_entropy,
                 Recipe("adamw", 2e-3, weight_decay=0.05), "classes", deeper=layer_normed),
    Architecture("mlp-sigmoid", shallow_sigmoid, lr_settings.mnist, lambda: F.cross_entropy, Recipe("adam", 1e-2),
                 "classes"),
    Architecture("mlp-leaky", leaky, mixture, lambda: F.cross_entropy, Recipe("sgd", 0.05), "classes", deeper=leaky),
    Architecture("lenet-tanh", LeNet, lr_settings.mnist, lambda: F.cross_entropy, Recipe("sgd", 0.1), "classes"),
    Architecture("resnet-group-norm", group_normed_resnet, lr_settings.mnist, lambda: F.cross_entropy,
                 Recipe("adam", 5e-3), "classes", batch_size=32),
    Architecture("depthwise-batch-norm", depthwise, lr_settings.mnist, lambda: F.cross_entropy, Recipe("adam", 5e-3),
                 "classes", batch_size=32, deeper=depthwise),
    Architecture("gru-regression", wave_reader, waves, lambda: F.mse_loss, Recipe("adam", 1e-2), "values"),
    Architecture("vision-transformer", vision_transformer, lr_settings.mnist, lambda: F.cross_entropy,
                 Recipe("adamw", 3e-3, weight_decay=0.05), "classes", batch_size=48),
    Architecture("autoencoder", autoencoder, images_themselves, lambda: F.mse_loss, Recipe("adam", 3e-3), "values",
                 batch_size=32),
    Architecture("unet-batch-norm", SmallUNet, noisy_images, lambda: F.mse_loss, Recipe("adam", 5e-3), "values",
                 batch_size=24, steps=120),
    Architecture("lstm-language-model", language_model, sentences, lambda: every_token, Recipe("adam", 1e-2),
                 "classes"),
    Architecture("mixer", mixer, lr_settings.mnist, lambda: F.cross_entropy, Recipe("adam", 3e-3), "classes",
                 batch_size=48),
    Architecture("residual-binary", residual_binary, quadratic_sign, lambda: F.binary_cross_entropy,
                 Recipe("adam", 3e-3), "binary", threshold=0.5),
)  # fmt: skip
