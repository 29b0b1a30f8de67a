"""Programs on series in time: forecasts and classes of what happened when."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from programs.pair import Pair, Program, pair
from programs.reported_data import drawn, split


def seasons(n: int) -> tuple[Tensor, Tensor]:
    """Waves of any period and height beside the hour of the day, and the next value."""
    t = torch.arange(25.0)
    phase, period, height = torch.rand(n, 1) * 6.28, 6 + 18 * torch.rand(n, 1), 0.5 + torch.rand(n, 1)
    s = height * torch.sin(6.28 * t / period + phase) + 0.05 * torch.randn(n, 25)
    x = torch.stack([s[:, :24], torch.cos(6.28 * t[:24] / 24).expand(n, 24)], 2)
    return x, s[:, 24]


class Forecaster(nn.Module):
    def __init__(self, squeezed: bool) -> None:
        super().__init__()
        self.squeezed = squeezed
        self.lstm = nn.LSTM(2, 40, batch_first=True)
        self.fc = nn.Linear(40, 1)

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.lstm(x)
        out = self.fc(out[:, -1])
        return out.squeeze(1) if self.squeezed else out


@pair(
    "data",
    "loss",
    "wiring",
    why="output (B,1) against target (B,) broadcasts to (B,B) in MSELoss: the model predicts the mean for every input",
    source="symptom: 'Using a target size that is different to the input size' warning, "
    "LSTM predicts the same value (the mean) for all samples",
)
def lstm_mse_broadcast(faulty: bool) -> Program:
    torch.manual_seed(103)
    x, y = drawn(seasons, 16 * 64, held_out=500)
    model = Forecaster(squeezed=not faulty)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return Program(model, split(64, x, y), nn.MSELoss(), optimizer)


def waves(n: int) -> tuple[Tensor, Tensor]:
    t = torch.arange(21.0)
    s = torch.sin(t / (1.5 + 3 * torch.rand(n, 1)) + 6.28 * torch.rand(n, 1)) * (0.4 + torch.rand(n, 1))
    return s[:, :20, None], s[:, 20:]


class SeriesTransformer(nn.Module):
    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.proj = nn.Identity() if d == 1 else nn.Linear(1, d)
        self.pos = nn.Parameter(torch.zeros(20, d))
        nn.init.normal_(self.pos, std=0.1)
        layer = nn.TransformerEncoderLayer(d, heads, 64, dropout=0.0, batch_first=True)
        self.enc = nn.TransformerEncoder(layer, 2)
        self.out = nn.Linear(20 * d, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.enc(self.proj(x) + self.pos)
        return self.out(h.flatten(1))


@pair(
    "normalization",
    "wiring",
    why="d_model=1: LayerNorm over a single feature turns everything into its bias, "
    "the output is the same for any input",
    source="https://discuss.pytorch.org/t/transformer-cannot-predict-next-number-in-linear-sequence/184454",
)
def transformer_dmodel1(faulty: bool) -> Program:
    torch.manual_seed(106)
    x, y = drawn(waves, 24 * 64, held_out=400)
    model = SeriesTransformer(1, 1) if faulty else SeriesTransformer(32, 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return Program(model, split(64, x, y), nn.MSELoss(), optimizer)


def winter(n: int) -> tuple[Tensor, Tensor]:
    """Temperature in degrees Celsius and pressure of 36 hours, and the next temperature, all standardised."""
    h = torch.arange(37.0)
    day = 4 * torch.sin(6.28 * (h + 24 * torch.rand(n, 1)) / 24)
    base = -3 + 4 * torch.randn(n, 1)
    temp = base + day + 0.3 * torch.randn(n, 37)
    x = torch.stack([temp[:, :36], 1013 + 5 * torch.randn(n, 36)], 2)
    return (x - torch.tensor([-3.0, 1013.0])) / torch.tensor([5.0, 5.0]), (temp[:, 36:] + 3) / 5


class TempGRU(nn.Module):
    def __init__(self, clipped: bool) -> None:
        super().__init__()
        self.clipped = clipped
        self.gru = nn.GRU(2, 32, num_layers=1, batch_first=True)
        self.fc1 = nn.Linear(32, 32)
        self.fc2 = nn.Linear(32, 1)

    def forward(self, x: Tensor) -> Tensor:
        o, _ = self.gru(x)
        o = F.relu(self.fc1(o[:, -1]))
        o = self.fc2(o)
        return F.relu(o) if self.clipped else o


@pair(
    "activation",
    why="ReLU after the last layer of a regression whose standardised targets are negative half of the time: "
    "never predicts below zero",
    source="symptom: 'my model's predictions are all zero or positive', F.relu on the output layer of a regression",
)
def gru_relu_output(faulty: bool) -> Program:
    torch.manual_seed(109)
    x, y = drawn(winter, 20 * 50, held_out=400)
    model = TempGRU(clipped=faulty)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return Program(model, split(50, x, y), nn.SmoothL1Loss(), optimizer)


def histories(n: int) -> tuple[Tensor, Tensor, Tensor]:
    """What users did, where that is padded, and whether they come back; some have no history at all."""
    lengths = torch.randint(0, 13, (n,))
    x = torch.randn(n, 12, 10)
    pad = torch.arange(12)[None] >= lengths[:, None]
    s = ((x[..., 0] + 0.7 * (x[..., 1] > 0).float()) * (~pad)).sum(1) / lengths.clamp(min=1)
    y = (s > 0.3).float()
    x[pad] = 0
    return x, pad, y


class HistoryEncoder(nn.Module):
    def __init__(self, with_empty: bool, d: int = 24) -> None:
        super().__init__()
        self.with_empty = with_empty
        self.inp = nn.Linear(10, d)
        self.empty = nn.Parameter(torch.zeros(1, 1, d))
        self.qkv, self.proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.ff = nn.Sequential(nn.Linear(d, 48), nn.GELU(), nn.Linear(48, d))
        self.out = nn.Linear(d, 1)

    def forward(self, x: Tensor, pad: Tensor) -> Tensor:
        h = self.inp(x)
        if self.with_empty:
            # One learnt token that is never masked.
            h = torch.cat([self.empty.expand(len(h), -1, -1), h], 1)
            pad = F.pad(pad, (1, 0), value=False)
        q, k, v = self.qkv(h).chunk(3, 2)
        score = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
        att = score.masked_fill(pad[:, None, :], float("-inf")).softmax(2)
        h = self.n1(h + self.proj(att @ v))
        h = self.n2(h + self.ff(h))
        keep = (~pad).float().unsqueeze(2)
        return ((h * keep).sum(1) / keep.sum(1).clamp(min=1)) @ self.out.weight.t() + self.out.bias


def bce(o: Tensor, y: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(o.squeeze(1), y)


@pair(
    "precision",
    "data",
    "wiring",
    why="users with an empty history have a key_padding_mask that is True everywhere: softmax over only -inf gives "
    "NaN, loss is NaN at once",
    source="https://github.com/pytorch/pytorch/issues/40932",
)
def attention_mask_all_padded(faulty: bool) -> Program:
    torch.manual_seed(132)
    x, pad, y = drawn(histories, 20 * 48, held_out=500)
    model = HistoryEncoder(with_empty=not faulty)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return Program(model, split(48, x, pad, y), bce, optimizer)


def early_events(n: int) -> tuple[Tensor, Tensor]:
    """Eighty steps of noise with a class's event of three steps within the first fourteen."""
    y = torch.randint(0, 4, (n,))
    x = 0.5 * torch.randn(n, 80, 3)
    k = torch.randint(0, 12, (n,))
    event = torch.tensor([[2.0, 2, 0], [2, -2, 0], [-2, 2, 0], [-2, -2, 0]])[y]
    for j in range(3):
        x[torch.arange(n), k + j] += event
    return x, y


class RNN(nn.Module):
    def __init__(self, attentive: bool, h: int = 32) -> None:
        super().__init__()
        self.rnn = nn.RNN(3, h, batch_first=True)
        self.score = nn.Linear(h, 1) if attentive else None
        self.fc = nn.Linear(h, 4)

    def forward(self, x: Tensor) -> Tensor:
        o, _ = self.rnn(x)
        if self.score is None:
            return self.fc(o[:, -1])
        w = self.score(o).softmax(1)
        return self.fc((w * o).sum(1))


@pair(
    "depth",
    "wiring",
    why="plain RNN read out after 80 steps while the event is at the start: the gradient vanishes through time, "
    "accuracy at chance; attention over the outputs mended it",
    source="symptom: vanilla nn.RNN does not learn long sequences, loss stuck at ln(C), short sequences work",
)
def rnn_vanishing_through_time(faulty: bool) -> Program:
    torch.manual_seed(142)
    x, y = drawn(early_events, 20 * 48, held_out=400)
    model = RNN(attentive=not faulty)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return Program(model, split(48, x, y), nn.CrossEntropyLoss(), optimizer)


PAIRS: tuple[Pair, ...] = (
    lstm_mse_broadcast,
    transformer_dmodel1,
    gru_relu_output,
    attention_mask_all_padded,
    rnn_vanishing_through_time,
)
