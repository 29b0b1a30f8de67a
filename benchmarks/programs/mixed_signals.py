"""Mixed programs on sounds and sensor signals."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from programs.mixed_data import Batches, split
from programs.pair import Pair, Program, pair


def sounds(shuffled: bool) -> Batches:
    classes, per_class = 8, 64
    n = classes * per_class
    t = torch.arange(256) / 256.0
    y = torch.arange(classes).repeat_interleave(per_class)
    pitch = 6.0 + 6.0 * y.float() + torch.randn(n)
    x = torch.sin(2 * math.pi * (pitch[:, None] * t + torch.rand(n, 1))) * (0.5 + 0.5 * torch.rand(n, 1))
    x = (x + 0.3 * torch.randn(n, 256)).unsqueeze(1)
    if shuffled:
        order = torch.randperm(n)
        x, y = x[order], y[order]
    return split(32, x, y)


@pair(
    "data",
    why="the sound files come folder by folder (shuffle=False), each batch holds one class; "
    "the net always answers the last class",
    source="symptom: 'network predicts only the last class seen, data sorted by class and not shuffled'",
)
def sounds_sorted_by_folder(faulty: bool) -> Program:
    torch.manual_seed(104)
    batches = sounds(shuffled=not faulty)
    model = nn.Sequential(
        nn.Conv1d(1, 16, 15, stride=2, padding=7),
        nn.ReLU(),
        nn.Conv1d(16, 32, 9, stride=2, padding=4),
        nn.ReLU(),
        nn.AdaptiveMaxPool1d(4),
        nn.Flatten(),
        nn.Linear(128, 48),
        nn.ReLU(),
        nn.Linear(48, 8),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    return Program(model, batches, nn.CrossEntropyLoss(), optimizer)


class KeywordNet(nn.Module):
    def __init__(self, classes: int, softmax: bool) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, 16, (7, 5), stride=(2, 2), padding=(3, 2)),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.fc = nn.Linear(32 * 10 * 4, classes)
        self.softmax = nn.Softmax(dim=1) if softmax else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc(self.conv(x).flatten(1))
        return x if self.softmax is None else self.softmax(x)


def keywords(classes: int) -> Batches:
    """Spectrograms of spoken words."""
    n = 20 * 32
    words = 0.5 * torch.randn(classes, 8, 4)
    y = torch.randint(0, classes, (n,))
    x = F.interpolate(words[y].unsqueeze(1), size=(40, 16), mode="bilinear") + 0.9 * torch.randn(n, 1, 40, 16)
    delays = torch.randint(-2, 3, (n,))
    x = torch.stack([torch.roll(word, int(delay), dims=2) for word, delay in zip(x, delays, strict=True)])
    return split(32, x, y)


@pair(
    "loss",
    "activation",
    why="nn.Softmax at the end of the net and nn.CrossEntropyLoss, which applies softmax again; "
    "the loss stays at ln 20 for hundreds of steps and cannot fall below 2",
    source="https://github.com/bowang-lab/Transformer-GCN-QA/pull/32",
)
def keywords_softmax_twice(faulty: bool) -> Program:
    torch.manual_seed(107)
    batches = keywords(20)
    model = KeywordNet(20, softmax=faulty)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    return Program(model, batches, nn.CrossEntropyLoss(), optimizer)


class SensorNet(nn.Module):
    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.rnn = nn.GRU(1, 20, batch_first=True)
        self.out = nn.Sequential(nn.Linear(20, 20), nn.GELU(), nn.Linear(20, 1))

    def forward(self, x: Tensor) -> Tensor:
        h, _ = self.rnn(self.norm(x))
        return self.out(h[:, -1])


class TimeNorm(nn.Module):
    """Layer norm along time for a univariate series."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(steps)

    def forward(self, x: Tensor) -> Tensor:
        return self.ln(x.transpose(1, 2)).transpose(1, 2)


def rotations(steps: int) -> Batches:
    n = 18 * 32
    frequency = 0.03 + 0.12 * torch.rand(n, 1)
    t = torch.arange(steps).float()
    x = torch.sin(2 * math.pi * (frequency * t + torch.rand(n, 1))) + 0.1 * torch.randn(n, steps)
    return split(32, x.unsqueeze(2), (frequency - 0.09) / 0.035)


@pair(
    "normalization",
    "data",
    why="nn.LayerNorm(1) over the single feature of a univariate series turns every value into the bias; "
    "the net predicts the mean",
    source="symptom: 'LayerNorm over last dim of size 1 outputs zeros, model output does not depend on the input'",
)
def sensor_layernorm_one_feature(faulty: bool) -> Program:
    torch.manual_seed(302)
    batches = rotations(30)
    model = SensorNet(nn.LayerNorm(1) if faulty else TimeNorm(30))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=1e-3)
    return Program(model, batches, nn.MSELoss(), optimizer)


class GestureNet(nn.Module):
    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 32, num_layers=2, batch_first=batch_first)
        self.fc = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.lstm(x)
        return self.fc(out[:, -1])


def gestures() -> Batches:
    n, steps = 20 * 32, 20
    y = torch.randint(0, 4, (n,))
    way = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])[y]
    t = torch.linspace(-1, 1, steps)
    # The swing is over before the end.
    bump = torch.exp(-((t + 0.5 * (2 * torch.rand(n, 1) - 1) + 0.3) ** 2) / 0.05)
    acceleration = 1.5 * bump.unsqueeze(2) * way.unsqueeze(1)
    turn = bump.unsqueeze(2) * torch.stack([way[:, 1], way[:, 0], way.sum(1)], 1).unsqueeze(1)
    gravity = torch.ones(n, steps, 1) * 0.98
    x = torch.cat([acceleration, gravity, turn], 2) + 0.25 * torch.randn(n, steps, 6)
    return split(32, x, y)


@pair(
    "wiring",
    why="batches are (B,T,F) but nn.LSTM was built without batch_first=True, "
    "so it runs over the samples of the batch instead of time",
    source="https://github.com/HHTseng/video-classification/issues/42",
)
def gesture_lstm_batch_first(faulty: bool) -> Program:
    torch.manual_seed(303)
    batches = gestures()
    model = GestureNet(batch_first=not faulty)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return Program(model, batches, nn.CrossEntropyLoss(), optimizer)


class BeatNet(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv1d(1, 12, 9, stride=2, padding=4),
            nn.ReLU(),
            nn.Conv1d(12, 24, 7, stride=2, padding=3),
            nn.ReLU(),
            nn.AdaptiveAvgPool1d(4),
            nn.Flatten(),
        )
        self.fc = nn.Linear(96, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x))


def heartbeats(n: int, classes: int, widening: float) -> tuple[Tensor, Tensor]:
    y = torch.randint(0, classes, (n,))
    t = torch.linspace(0, 1, 96)
    c = y.float()[:, None]
    qrs = 1.2 * torch.exp(-((t - 0.4) ** 2) / (0.0006 + 0.0008 * c * widening))
    t_wave = (0.35 - 0.12 * c) * torch.exp(-((t - 0.65 - 0.03 * c) ** 2) / 0.004)
    p_wave = 0.15 * (1 - 0.4 * (c == 1).float()) * torch.exp(-((t - 0.2) ** 2) / 0.002)
    x = (qrs + t_wave + p_wave) * (0.9 + 0.2 * torch.rand(n, 1)) + 0.05 * torch.randn(n, 96)
    return x.unsqueeze(1), y


def pretrained_on_heartbeats() -> BeatNet:
    """A frozen net, trained on other classes than it is to be tuned for."""
    model = BeatNet(3)
    x, y = heartbeats(256, 3, 1.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model.requires_grad_(False)


@pair(
    "optimizer",
    "wiring",
    why="the optimizer was made before model.fc was replaced and still holds the old head; the new one never changes",
    source="symptom: 'replaced model.fc after creating the optimizer, loss does not change at all'",
)
def ecg_optimizer_before_new_head(faulty: bool) -> Program:
    torch.manual_seed(305)
    model = pretrained_on_heartbeats()
    x, y = heartbeats(16 * 32, 5, 0.8)
    if faulty:
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        model.fc = nn.Linear(96, 5)
    else:
        model.fc = nn.Linear(96, 5)
        optimizer = torch.optim.Adam(model.fc.parameters(), lr=1e-2)
    return Program(model, split(32, x, y), nn.CrossEntropyLoss(), optimizer)


PAIRS: tuple[Pair, ...] = (
    sounds_sorted_by_folder,
    keywords_softmax_twice,
    sensor_layernorm_one_feature,
    gesture_lstm_batch_first,
    ecg_optimizer_before_new_head,
)
