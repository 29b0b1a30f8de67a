"""Mixed programs on time series and texts."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from programs.mixed_data import Batches, split, standardized_whole
from programs.pair import Pair, Program, pair


class LoadNet(nn.Module):
    def __init__(self, last_relu: bool) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 24, batch_first=True)
        self.fc = nn.Linear(24, 6)
        self.last_relu = last_relu

    def forward(self, x: Tensor) -> Tensor:
        h = self.fc(self.lstm(x)[0][:, -1])
        return F.relu(h) if self.last_relu else h


def grid_load() -> Batches:
    """An electric grid's load by the hour: a day's values, and the next six."""
    n = 20 * 32
    t = torch.arange(n + 40).float()
    load = (
        torch.sin(2 * math.pi * t / 24)
        + 0.6 * torch.sin(2 * math.pi * t / 12 + 1)
        + 0.4 * torch.sin(2 * math.pi * t / 168)
        + 0.12 * torch.randn(n + 40)
    )
    load = standardized_whole(load)
    features = torch.stack([load, torch.sin(2 * math.pi * t / 24), torch.cos(2 * math.pi * t / 24)], 1)
    x = torch.stack([features[i : i + 24] for i in range(n)])
    y = torch.stack([load[i + 24 : i + 30] for i in range(n)])
    order = torch.randperm(n)
    return split(32, x[order], y[order])


@pair(
    "activation",
    why="ReLU after the last linear layer while the standardised targets are negative half of the time; "
    "forecasts are cut at zero",
    source="symptom: 'LSTM forecast never goes below zero / outputs all zeros, ReLU on the last layer'",
)
def load_forecast_relu_output(faulty: bool) -> Program:
    torch.manual_seed(204)
    batches = grid_load()
    model = LoadNet(last_relu=faulty)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return Program(model, batches, nn.L1Loss(), optimizer)


class TextTransformer(nn.Module):
    def __init__(self, vocabulary: int, classes: int) -> None:
        super().__init__()
        self.emb = nn.Embedding(vocabulary, 32, padding_idx=0)
        self.pos = nn.Parameter(0.1 * torch.randn(1, 24, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True)
        self.enc = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.cls = nn.Linear(32, classes)

    def forward(self, ids: Tensor) -> Tensor:
        pad = ids == 0
        h = self.enc(self.emb(ids) + self.pos, src_key_padding_mask=pad)
        keep = (~pad).float().unsqueeze(2)
        return self.cls((h * keep).sum(1) / keep.sum(1))


def tickets(classes: int) -> Batches:
    """Texts with two words of their topic, in a fixed order, somewhere in them."""
    n = 24 * 24
    y = torch.randint(0, classes, (n,))
    ids = torch.randint(20, 120, (n, 24))
    length = torch.randint(10, 25, (n,))
    for i in range(n):
        a, b = sorted(torch.randperm(int(length[i]))[:2].tolist())
        ids[i, a], ids[i, b] = 1 + int(y[i]) * 2 + int(torch.randint(0, 2, (1,))), 11 + int(y[i])
        ids[i, length[i] :] = 0
    return split(24, ids, y)


@pair(
    "learning-rate",
    "optimizer",
    why="Adam with lr=0.1 on a transformer; the loss jumps and then stays near ln 5",
    source="symptom: 'transformer classifier predicts the same class, works after lowering the learning rate of Adam'",
)
def tickets_transformer_lr_high(faulty: bool) -> Program:
    torch.manual_seed(206)
    batches = tickets(5)
    model = TextTransformer(120, 5)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1 if faulty else 5e-4)
    return Program(model, batches, nn.CrossEntropyLoss(), optimizer)


class ScratchRNN(nn.Module):
    def __init__(self, n_in: int, hidden: int, classes: int, scaled: bool) -> None:
        super().__init__()
        scale = 1.0 / hidden**0.5 if scaled else 1.0
        self.wx = nn.Parameter(torch.randn(n_in, hidden) * scale)
        self.wh = nn.Parameter(torch.randn(hidden, hidden) * scale)
        self.b = nn.Parameter(torch.zeros(hidden))
        self.wo = nn.Parameter(torch.randn(hidden, classes) * scale)
        self.bo = nn.Parameter(torch.zeros(classes))

    def forward(self, ids: Tensor) -> Tensor:
        h = torch.zeros(len(ids), self.wh.shape[0])
        for t in range(ids.shape[1]):
            h = torch.tanh(self.wx[ids[:, t]] + h @ self.wh + self.b)
        return h @ self.wo + self.bo


def names(classes: int) -> Batches:
    """Names as chains of letters, each class with its own transitions."""
    n, length = 20 * 32, 10
    transitions = torch.softmax(1.6 * torch.randn(classes, 27, 27), 2)
    y = torch.randint(0, classes, (n,))
    ids = torch.zeros(n, length, dtype=torch.long)
    letter = torch.randint(0, 27, (n,))
    for t in range(length):
        ids[:, t] = letter
        letter = torch.multinomial(transitions[y, letter], 1).squeeze(1)
    return split(32, ids, y)


@pair(
    "init",
    "activation",
    why="weights of the hand-written RNN are torch.randn without a scale; tanh saturates, "
    "the state is chaotic and accuracy stays low",
    source="symptom: 'RNN from scratch with torch.randn weights does not learn, tanh outputs are all +-1'",
)
def names_rnn_randn_init(faulty: bool) -> Program:
    torch.manual_seed(208)
    batches = names(6)
    model = ScratchRNN(27, 96, 6, scaled=not faulty)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return Program(model, batches, nn.CrossEntropyLoss(), optimizer)


PAIRS: tuple[Pair, ...] = (load_forecast_relu_output, tickets_transformer_lr_high, names_rnn_randn_init)
