"""Published programs on texts, signals and series."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from programs.pair import Pair, Program, pair
from programs.published_data import Batches, generator, loader


class SeqClassifier(nn.Module):
    def __init__(self, n_features: int, hidden: int, last: nn.Module) -> None:
        super().__init__()
        self.lstm = nn.LSTM(n_features, hidden, batch_first=True)
        self.fc = nn.Linear(hidden, 1)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.lstm(x)
        return self.last(self.fc(out[:, -1]))


def two_sorts_of_series() -> Batches:
    g = generator(10)
    n, t, f = 640, 16, 8
    x = torch.randn(n, t, f, generator=g)
    y = ((x[:, :, 0].mean(1) + x[:, :, 1].mean(1)) > 0).float().unsqueeze(1)
    return loader((x, y), 32, 1)


@pair(
    "activation",
    "loss",
    why="softmax over a single output unit is always 1, so accuracy stays at the share of the positive class",
    source="https://stackoverflow.com/questions/47241622",
)
def lstm_softmax_one_unit(faulty: bool) -> Program:
    torch.manual_seed(1)
    model = SeqClassifier(8, 48, nn.Softmax(dim=1) if faulty else nn.Sigmoid())
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return Program(model, two_sorts_of_series(), nn.BCELoss(), optimizer)


class GRUSentiment(nn.Module):
    def __init__(self, vocab: int) -> None:
        super().__init__()
        self.emb = nn.Embedding(vocab, 32)
        self.gru = nn.GRU(32, 32, batch_first=True)
        self.fc = nn.Linear(32, 2)

    def forward(self, ids: Tensor) -> Tensor:
        out, _ = self.gru(self.emb(ids))
        return self.fc(out.mean(1))


def reviews() -> Batches:
    g = generator(90)
    n, t, vocab = 640, 20, 200
    y = torch.arange(n) % 2
    ids = torch.randint(40, vocab, (n, t), generator=g)
    opinion = torch.randint(0, 20, (n, t), generator=g) + 20 * y[:, None]
    ids = torch.where(torch.rand(n, t, generator=g) < 0.25, opinion, ids)
    return loader((ids, y), 32, 9)


@pair(
    "learning-rate",
    "optimizer",
    why="Adadelta with lr=0.001 (default of tf.keras) instead of 1.0: loss stays at 0.69",
    source="symptom: 'Adadelta does not learn in tf.keras while it did in Keras'; "
    "https://keras.io/api/optimizers/adadelta/",
)
def gru_adadelta_lr(faulty: bool) -> Program:
    torch.manual_seed(9)
    model = GRUSentiment(200)
    optimizer = torch.optim.Adadelta(model.parameters(), lr=0.001 if faulty else 1.0)
    return Program(model, reviews(), nn.CrossEntropyLoss(), optimizer)


class ActivityLSTM(nn.Module):
    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 40, batch_first=batch_first)
        self.fc = nn.Linear(40, 4)

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.lstm(x)
        return self.fc(out[:, -1, :])


def accelerometer() -> Batches:
    g = generator(150)
    n, t = 640, 24
    y = torch.arange(n) % 4
    f = torch.tensor([0.5, 1.0, 1.7, 2.6])[y]
    phase = 2 * math.pi * torch.rand(n, 3, generator=g)
    time = torch.linspace(0, 6, t)
    x = torch.sin(f[:, None, None] * time[None, :, None] * 1.6 + phase[:, None, :])
    x = x + 0.2 * torch.randn(n, t, 3, generator=g)
    return loader((x, y), 32, 15)


@pair(
    "wiring",
    "data",
    why="nn.LSTM without batch_first=True given (batch, time, features): it runs over the samples, not over time",
    source="symptom: PyTorch forum 'LSTM does not learn', answer: batch_first=True",
)
def activity_batch_first(faulty: bool) -> Program:
    torch.manual_seed(15)
    model = ActivityLSTM(batch_first=not faulty)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return Program(model, accelerometer(), nn.CrossEntropyLoss(), optimizer)


class TextCNN(nn.Module):
    def __init__(self, log_softmax: bool) -> None:
        super().__init__()
        self.emb = nn.Embedding(300, 24)
        self.convs = nn.ModuleList([nn.Conv1d(24, 16, k, padding=k // 2) for k in (3, 5)])
        self.fc = nn.Linear(32, 5)
        self.log_softmax = log_softmax

    def forward(self, ids: Tensor) -> Tensor:
        e = self.emb(ids).transpose(1, 2)
        h = torch.cat([F.relu(c(e)).amax(2) for c in self.convs], 1)
        out = self.fc(h)
        return F.log_softmax(out, dim=1) if self.log_softmax else out


def news() -> Batches:
    g = generator(160)
    n, t = 600, 24
    y = torch.arange(n) % 5
    ids = torch.randint(100, 300, (n, t), generator=g)
    topic = torch.randint(0, 20, (n, t), generator=g) + 20 * y[:, None]
    ids = torch.where(torch.rand(n, t, generator=g) < 0.18, topic, ids)
    return loader((ids, y), 30, 16)


@pair(
    "loss",
    "activation",
    why="nn.NLLLoss on raw scores: the loss becomes ever more negative while accuracy does not follow",
    source="symptom: PyTorch forum 'NLLLoss gives negative loss', answer: log_softmax or CrossEntropyLoss",
)
def textcnn_nll_raw(faulty: bool) -> Program:
    torch.manual_seed(16)
    model = TextCNN(log_softmax=not faulty)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return Program(model, news(), nn.NLLLoss(), optimizer)


def motions() -> Batches:
    g = generator(230)
    n, t = 600, 64
    y = torch.arange(n) % 5
    time = torch.linspace(0, 1, t)
    f = torch.tensor([2.0, 4.0, 7.0, 10.0, 14.0])[y]
    amplitude = torch.tensor([1.0, 0.8, 1.2, 0.9, 1.1])[y]
    phase = 2 * math.pi * torch.rand(n, 6, generator=g)
    x = amplitude[:, None, None] * torch.sin(2 * math.pi * f[:, None, None] * time + phase[:, :, None])
    x = x + 0.5 * torch.randn(n, 6, t, generator=g)
    return loader((x, y), 30, 23)


@pair(
    "learning-rate",
    why="SGD with lr=1e-5: the loss moves in the fourth digit only",
    source="symptom: 'loss decreases extremely slowly', answer: raise the learning rate of SGD",
)
def har_lr_low(faulty: bool) -> Program:
    torch.manual_seed(23)
    model = nn.Sequential(
        nn.Conv1d(6, 24, 7, padding=3, bias=False),
        nn.BatchNorm1d(24),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Conv1d(24, 32, 5, padding=2, bias=False),
        nn.BatchNorm1d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(32, 5),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-5 if faulty else 0.1)
    return Program(model, motions(), nn.CrossEntropyLoss(), optimizer)


class Encoder(nn.Module):
    def __init__(self, vocab: int, hidden: int) -> None:
        super().__init__()
        self.emb = nn.Embedding(vocab, 24)
        self.gru = nn.GRU(24, hidden, batch_first=True)

    def forward(self, src: Tensor) -> Tensor:
        return self.gru(self.emb(src))[1]


class Decoder(nn.Module):
    def __init__(self, vocab: int, hidden: int) -> None:
        super().__init__()
        self.emb = nn.Embedding(vocab, 24)
        self.gru = nn.GRU(24, hidden, batch_first=True)
        self.out = nn.Linear(hidden, vocab)

    def forward(self, tgt_in: Tensor, state: Tensor) -> Tensor:
        return self.out(self.gru(self.emb(tgt_in), state)[0])


class Seq2Seq(nn.Module):
    def __init__(self, vocab: int = 14, hidden: int = 64) -> None:
        super().__init__()
        self.encoder = Encoder(vocab, hidden)
        self.decoder = Decoder(vocab, hidden)

    def forward(self, src: Tensor, tgt_in: Tensor) -> Tensor:
        return self.decoder(tgt_in, self.encoder(src)).transpose(1, 2)


def reversal() -> Batches:
    g = generator(290)
    n, t = 960, 4
    src = torch.randint(2, 14, (n, t), generator=g)
    tgt = src.flip(1)
    tgt_in = torch.cat([torch.ones(n, 1, dtype=torch.long), tgt[:, :-1]], 1)
    return loader((src, tgt_in, tgt), 48, 29)


@pair(
    "optimizer",
    "wiring",
    why="only encoder.parameters() given to Adam, the decoder's optimizer was forgotten: loss falls a little and stops",
    source="symptom: PyTorch forum seq2seq 'decoder weights do not change', "
    "answer: list(enc.parameters()) + list(dec.parameters())",
)
def seq2seq_encoder_optimizer(faulty: bool) -> Program:
    torch.manual_seed(29)
    model = Seq2Seq()
    parameters = [*model.encoder.parameters(), *([] if faulty else model.decoder.parameters())]
    optimizer = torch.optim.Adam(parameters, lr=4e-3)
    return Program(model, reversal(), nn.CrossEntropyLoss(), optimizer)


class TinyTransformer(nn.Module):
    def __init__(self, vocab: int = 24, d: int = 32) -> None:
        super().__init__()
        self.emb = nn.Embedding(vocab, d)
        self.pos = nn.Parameter(0.1 * torch.randn(1, 16, d))
        layer = nn.TransformerEncoderLayer(d, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
        self.enc = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(d), enable_nested_tensor=False)
        self.fc = nn.Linear(d, 6)

    def forward(self, ids: Tensor) -> Tensor:
        return self.fc(self.enc(self.emb(ids) + self.pos)[:, -1])


def entities() -> Batches:
    """The class is which of six trigger tokens occurs more often."""
    g = generator(311)
    n = 960
    y = torch.arange(n) % 6
    ids = torch.randint(6, 24, (n, 16), generator=g)
    trigger = torch.randint(0, 6, (n, 16), generator=g)
    u = torch.rand(n, 16, generator=g)
    ids = torch.where(u < 0.3, y[:, None].expand(-1, 16), torch.where(u < 0.5, trigger, ids))
    return loader((ids, y), 48, 31)


@pair(
    "learning-rate",
    why="transformer encoder with Adam lr=0.1: loss shoots up and never recovers",
    source="symptom: PyTorch forum 'nn.Transformer predicts the same token for everything', answer: lr 1e-3 or less",
)
def transformer_lr_high(faulty: bool) -> Program:
    torch.manual_seed(31)
    model = TinyTransformer()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1 if faulty else 1e-3)
    return Program(model, entities(), nn.CrossEntropyLoss(), optimizer)


class Forecaster(nn.Module):
    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.gru = nn.GRU(1, 32, batch_first=True)
        self.fc = nn.Linear(32, 1)

    def forward(self, x: Tensor) -> Tensor:
        _, h = self.gru(self.norm(x))
        return self.fc(h[-1])


def load_curve() -> Batches:
    g = generator(380)
    t = torch.arange(1100).float()
    s = torch.sin(2 * math.pi * t / 24) + 0.5 * torch.sin(2 * math.pi * t / 168 + 1)
    s = s + 0.1 * torch.randn(1100, generator=g)
    s = (s - s.mean()) / s.std()
    x = torch.stack([s[i : i + 24] for i in range(1000)]).unsqueeze(2)
    y = torch.stack([s[i + 24] for i in range(1000)]).unsqueeze(1)
    return loader((x, y), 50, 38)


@pair(
    "normalization",
    why="nn.LayerNorm(1) on a series with one feature gives zero for every value: the forecast is a constant",
    source="symptom: PyTorch forum 'LayerNorm output is all zeros', feature dimension 1",
)
def forecast_layernorm_one(faulty: bool) -> Program:
    torch.manual_seed(38)
    model = Forecaster(nn.LayerNorm(1) if faulty else nn.Identity())
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return Program(model, load_curve(), nn.MSELoss(), optimizer)


PAIRS: tuple[Pair, ...] = (
    lstm_softmax_one_unit,
    gru_adadelta_lr,
    activity_batch_first,
    textcnn_nll_raw,
    har_lr_low,
    seq2seq_encoder_optimizer,
    transformer_lr_high,
    forecast_layernorm_one,
)
