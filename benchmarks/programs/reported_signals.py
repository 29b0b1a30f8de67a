"""Programs on what sensors measure: movement, sound, heartbeats, vibration, spectra."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from programs.pair import Pair, Program, pair
from programs.reported_data import drawn, split


def movements(n: int) -> tuple[Tensor, Tensor]:
    """Windows of three channels whose class is their pace."""
    y = torch.randint(0, 5, (n,))
    t = torch.arange(30.0)
    f = 0.25 + 0.22 * y.float()[:, None] + 0.04 * torch.randn(n, 1)
    s = torch.sin(f * t + 6.28 * torch.rand(n, 1))
    x = torch.stack([s, s.roll(3, 1), 0.5 * s**2], 2) + 0.2 * torch.randn(n, 30, 3)
    return x, y


class HAR(nn.Module):
    """Windows come as (B, T, 3), the LSTM wants (T, B, 3)."""

    def __init__(self, reshaped: bool) -> None:
        super().__init__()
        self.reshaped = reshaped
        self.lstm = nn.LSTM(3, 48)
        self.drop = nn.Dropout(0.2)
        self.fc = nn.Linear(48, 5)

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        x = x.reshape(T, B, C) if self.reshaped else x.permute(1, 0, 2)
        _, (h, _) = self.lstm(x)
        return self.fc(self.drop(h[-1]))


@pair(
    "wiring",
    "data",
    why="(B,T,C) brought to (T,B,C) with view/reshape instead of permute: windows of different persons are mixed, "
    "accuracy stuck at chance",
    source="symptom: LSTM classifier does not learn, x.view(seq_len, batch, -1) used to swap dimensions",
)
def lstm_view_instead_of_permute(faulty: bool) -> Program:
    torch.manual_seed(114)
    x, y = drawn(movements, 20 * 64, held_out=64 * 6)
    model = HAR(reshaped=faulty)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    return Program(model, split(64, x, y), nn.CrossEntropyLoss(), optimizer)


def spectra(n: int) -> tuple[Tensor, Tensor]:
    y = torch.randint(0, 7, (n,))
    g = torch.linspace(-2, 2, 48)
    c = torch.linspace(-1.5, 1.5, 7)[y]
    x = torch.exp(-((g - c[:, None]) ** 2) * 4) + 0.35 * torch.randn(n, 48)
    return x.unsqueeze(1), y


class SpectrumNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c2 = nn.Conv1d(1, 12, 5, 2, 2), nn.Conv1d(12, 24, 5, 2, 2)
        self.f1, self.f2 = nn.Linear(288, 48), nn.Linear(48, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.c2(F.relu(self.c1(x)))).flatten(1)
        return self.f2(F.relu(self.f1(x)))


@pair(
    "precision",
    "optimizer",
    why="model.half() with torch.optim.Adam at eps=1e-8, which is zero in fp16: weights become NaN within a few steps",
    source="https://discuss.pytorch.org/t/adam-half-precision-nans/1765",
)
def half_adam_eps(faulty: bool) -> Program:
    torch.manual_seed(123)
    x, y = drawn(spectra, 18 * 32, held_out=300)
    model = SpectrumNet()
    if faulty:
        x, model = x.half(), model.half()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return Program(model, split(32, x, y), nn.CrossEntropyLoss(), optimizer)


def chirps(n: int) -> tuple[Tensor, Tensor]:
    """Log-mel patches in dB of one rising or falling tone, standardised."""
    y = torch.randint(0, 6, (n,))
    mel, t = torch.arange(20.0)[None, :, None], torch.arange(24.0)[None, None]
    f0 = 4 + 5 * (y % 3).float()[:, None, None] + torch.randn(n, 1, 1)
    slope = torch.where(y < 3, 0.25, -0.25)[:, None, None]
    x = 20 * torch.exp(-((mel - f0 - slope * (t - 12)) ** 2) / 2) - 40 + 6 * torch.randn(n, 20, 24)
    return ((x + 38) / 8).unsqueeze(1), y


class DSCNN(nn.Module):
    def __init__(self, w: int = 24) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, w, (5, 3), (2, 2), (2, 1), bias=False), nn.BatchNorm2d(w), nn.ReLU())
        self.blocks = nn.Sequential(*[self._block(w) for _ in range(2)])
        self.fc = nn.Linear(w, 6)

    @staticmethod
    def _block(w: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(w, w, 3, padding=1, groups=w, bias=False),
            nn.BatchNorm2d(w),
            nn.ReLU(),
            nn.Conv2d(w, w, 1, bias=False),
            nn.BatchNorm2d(w),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.blocks(self.stem(x)).mean((2, 3)))


@pair(
    "data",
    why="features were shuffled with their own permutation, labels not: training loss stays at ln(6) or is memorised, "
    "validation at chance",
    source="symptom: validation accuracy at chance, X = X[perm] without y = y[perm]",
)
def audio_shuffled_labels(faulty: bool) -> Program:
    torch.manual_seed(131)
    x, y = drawn(chirps, 20 * 40, held_out=300)
    if faulty:
        x = x[torch.randperm(len(x))]
    model = DSCNN()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    return Program(model, split(40, x, y), nn.CrossEntropyLoss(), optimizer)


def heartbeats(n: int) -> tuple[Tensor, Tensor]:
    """Beats of any rate whose class is what follows each."""
    t = torch.arange(40).float()
    rate = 8 + 6 * torch.rand(n, 1)
    phase = rate * torch.rand(n, 1)
    y = torch.randint(0, 3, (n,))
    beat = torch.exp(-((((t + phase) % rate) - rate / 2) ** 2))
    late = torch.exp(-((((t + phase + 2.5) % rate) - rate / 2) ** 2) / 2)
    x = beat + torch.tensor([0.0, 0.5, -0.5])[y][:, None] * late + 0.15 * torch.randn(n, 40)
    return x.unsqueeze(1), y


class ECGNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Conv1d(1, 16, 7, padding=3)
        self.c2 = nn.Conv1d(16, 32, 5, stride=2, padding=2)
        self.c3 = nn.Conv1d(32, 32, 5, stride=2, padding=2)
        self.fc = nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.c1(x))
        x = F.leaky_relu(self.c2(x))
        x = F.leaky_relu(self.c3(x))
        return self.fc(x.mean(2))


@pair(
    "optimizer",
    "learning-rate",
    why="eps=1.0 taken over from an Inception recipe: with gradients far below one Adam moves a thousand times too "
    "slowly, loss hardly leaves ln(3)",
    source="symptom: Adam with eps=1.0 or 0.1 (the TensorFlow docs' ImageNet hint), "
    "training extremely slow to converge",
)
def ecg_adam_eps_one(faulty: bool) -> Program:
    torch.manual_seed(133)
    x, y = drawn(heartbeats, 20 * 48, held_out=500)
    model = ECGNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1.0 if faulty else 1e-8)
    return Program(model, split(48, x, y), nn.CrossEntropyLoss(), optimizer)


def vibrations(n: int) -> tuple[Tensor, Tensor]:
    """Square waves in noise whose class is their frequency."""
    y = torch.randint(0, 8, (n,))
    g = torch.linspace(0, 1, 64)
    f = 2 + 1.5 * y.float()[:, None] + 0.3 * torch.randn(n, 1)
    x = torch.sign(torch.sin(6.28 * (f * g + torch.rand(n, 1)))) * 0.5 + 0.4 * torch.randn(n, 64)
    return x.unsqueeze(1), y


class VibrationNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Sequential(self._block(1, 16), self._block(16, 32), self._block(32, 32))
        self.fc = nn.Linear(32, 8)

    @staticmethod
    def _block(i: int, o: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv1d(i, o, 7, 2, 3), nn.GroupNorm(4, o), nn.SiLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.f(x).mean(2))


@pair(
    "data",
    why="DataLoader without shuffle on files sorted by class: every batch holds one class, loss jumps, "
    "the net predicts the class seen last",
    source="symptom: loss goes to 0 and jumps up again and again, accuracy 1/C, "
    "shuffle=False on an ImageFolder-like set",
)
def batches_sorted_by_class(faulty: bool) -> Program:
    torch.manual_seed(136)
    x, y = drawn(vibrations, 24 * 40, held_out=500)
    if faulty:
        order = torch.argsort(y, stable=True)
        x, y = x[order], y[order]
    model = VibrationNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    return Program(model, split(40, x, y), nn.CrossEntropyLoss(), optimizer)


PAIRS: tuple[Pair, ...] = (
    lstm_view_instead_of_permute,
    half_adam_eps,
    audio_shuffled_labels,
    ecg_adam_eps_one,
    batches_sorted_by_class,
)
