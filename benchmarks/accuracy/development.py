"""Architectures on which thresholds may be set: digits, a table, a random teacher and a Markov chain."""

from __future__ import annotations

import lr_settings
import torch
from torch import nn
from torch.nn import functional as F

from accuracy.parts import Attended, Recurrent, Residual, initialized
from accuracy.setup import Architecture, Recipe
from gainstage import sweep


def plain_relu(more: int = 0) -> nn.Module:
    layers: list[nn.Module] = [nn.Linear(64, 96), nn.ReLU()]
    for _ in range(1 + more):
        layers += [nn.Linear(96, 96), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(96, 10))


def deep_tanh() -> nn.Module:
    layers: list[nn.Module] = [nn.Linear(64, 48), nn.Tanh()]
    for _ in range(4):
        layers += [nn.Linear(48, 48), nn.Tanh()]
    return initialized(nn.Sequential(*layers, nn.Linear(48, 10)), nn.init.xavier_normal_)


def normed_mlp(more: int = 0) -> nn.Module:
    layers: list[nn.Module] = [nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU()]
    for _ in range(2 + more):
        layers += [nn.Linear(64, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(64, 10))


class PlainConvolutions(nn.Module):
    """Two convolutions with pooling, two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Linear(96, 48), nn.ReLU(), nn.Linear(48, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x).flatten(1))


def normed_convolutions() -> nn.Module:
    layers: list[nn.Module] = []
    for before, after, stride in ((1, 12, 1), (12, 24, 2), (24, 24, 1)):
        layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10))


def _basic_block(before: int, after: int, stride: int) -> nn.Module:
    branch = nn.Sequential(
        nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(),
        nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after),
    )  # fmt: skip
    shortcut = None
    if before != after:
        shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
    return nn.Sequential(Residual(branch, shortcut), nn.ReLU())


def resnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        _basic_block(8, 8, 1), _basic_block(8, 16, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip


def lstm() -> nn.Module:
    return Recurrent(nn.Embedding(8, 24), nn.LSTM(24, 32, batch_first=True), 8)


def transformer() -> nn.Module:
    layer = nn.TransformerEncoderLayer(32, 2, 64, dropout=0.0, batch_first=True, norm_first=True)
    return Attended(nn.Embedding(8, 32), 12, nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), 32, 8,
                    last=True)  # fmt: skip


def regressor() -> nn.Module:
    return nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 1))


def residual_regressor() -> nn.Module:
    blocks = [Residual(nn.Sequential(nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 48)), scale=0.25) for _ in range(6)]
    return initialized(nn.Sequential(nn.Linear(16, 48), *blocks, nn.Linear(48, 1)), _he)


def _he(weight: torch.Tensor) -> torch.Tensor:
    return nn.init.kaiming_normal_(weight, nonlinearity="relu")


def binary() -> nn.Module:
    return nn.Sequential(nn.Linear(30, 32), nn.SiLU(), nn.Linear(32, 32), nn.SiLU(), nn.Linear(32, 1))


def digit_images() -> sweep.Data:
    found = lr_settings.digits()
    images = [inputs.view(-1, 1, 8, 8) for inputs in (found.train_inputs, found.test_inputs)]
    return sweep.Data(images[0], found.train_targets, images[1], found.test_targets)


def tumours() -> sweep.Data:
    found = lr_settings.cancer()
    targets = [t.float()[:, None] for t in (found.train_targets, found.test_targets)]
    return sweep.Data(found.train_inputs, targets[0], found.test_inputs, targets[1])


DEVELOPMENT = (
    Architecture("mlp-relu", plain_relu, lr_settings.digits, lambda: F.cross_entropy, Recipe("adam", 2e-3),
                 "classes", deeper=plain_relu),
    Architecture("mlp-tanh-deep", deep_tanh, lr_settings.digits, lambda: F.cross_entropy, Recipe("sgd", 0.03),
                 "classes"),
    Architecture("mlp-batch-norm", normed_mlp, lr_settings.digits, lambda: F.cross_entropy, Recipe("sgd", 0.05),
                 "classes", deeper=normed_mlp),
    Architecture("cnn-relu", PlainConvolutions, digit_images, lambda: F.cross_entropy, Recipe("adam", 3e-3),
                 "classes"),
    Architecture("cnn-batch-norm", normed_convolutions, digit_images, lambda: F.cross_entropy, Recipe("sgd", 0.1),
                 "classes", batch_size=32),
    Architecture("resnet-batch-norm", resnet, digit_images, lambda: F.cross_entropy,
                 Recipe("sgd", 0.05, weight_decay=1e-4), "classes", batch_size=32),
    Architecture("lstm-classifier", lstm, lr_settings.chain, lambda: F.cross_entropy, Recipe("adam", 1e-2),
                 "classes"),
    Architecture("transformer", transformer, lr_settings.chain, lambda: F.cross_entropy,
                 Recipe("adamw", 6e-3, weight_decay=0.01), "classes", batch_size=32),
    Architecture("mlp-regression", regressor, lr_settings.teacher, lambda: F.mse_loss, Recipe("adam", 5e-3), "values"),
    Architecture("residual-regression", residual_regressor, lr_settings.teacher, lambda: F.mse_loss,
                 Recipe("sgd", 0.01), "values"),
    Architecture("mlp-binary", binary, tumours, lambda: F.binary_cross_entropy_with_logits, Recipe("adam", 3e-3),
                 "binary", batch_size=32, steps=150),
)  # fmt: skip
