"""Programs on tokens: classifiers, a tagger, a language model."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from programs.pair import Pair, Program, pair
from programs.reported_data import drawn, split


def keyed_texts(keys: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Texts with up to four of the words that belong to their class."""
    y = torch.randint(0, len(keys), (n,))
    x = torch.randint(1, 600, (n, 32))
    for _ in range(4):
        at = torch.randint(0, 32, (n,))
        x[torch.arange(n), at] = keys[y, torch.randint(0, 8, (n,))]
    return x, y


class TextCNN(nn.Module):
    def __init__(self, softmax: bool) -> None:
        super().__init__()
        self.softmax = softmax
        self.emb = nn.Embedding(600, 48, padding_idx=0)
        self.convs = nn.ModuleList([nn.Conv1d(48, 32, k, padding=k // 2) for k in (1, 3, 5)])
        self.fc = nn.Linear(96, 20)

    def forward(self, x: Tensor) -> Tensor:
        e = self.emb(x).transpose(1, 2)
        h = torch.cat([F.relu(conv(e)).amax(2) for conv in self.convs], 1)
        out = self.fc(h)
        return F.softmax(out, dim=1) if self.softmax else out


@pair(
    "loss",
    "activation",
    why="forward() ends in softmax and nn.CrossEntropyLoss applies log-softmax once more: loss stuck near ln(20)=2.99",
    source="https://discuss.pytorch.org/t/cross-entropy-loss-is-not-decreasing/43814",
)
def textcnn_softmax_ce(faulty: bool) -> Program:
    torch.manual_seed(102)
    keys = torch.randint(20, 600, (20, 8))
    x, y = drawn(partial(keyed_texts, keys), 30 * 64, held_out=500)
    model = TextCNN(softmax=faulty)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9)
    return Program(model, split(64, x, y), nn.CrossEntropyLoss(), optimizer)


def reviews(n: int) -> tuple[Tensor, Tensor]:
    """Texts whose words 10..29 are mostly of the one class, 30..49 of the other; token 1 comes first."""
    x = torch.randint(50, 200, (n, 24))
    y = torch.randint(0, 2, (n,))
    for _ in range(5):
        s = torch.where(torch.rand(n) < 0.85, y, 1 - y)
        x[torch.arange(n), torch.randint(1, 24, (n,))] = torch.where(s == 1, 10, 30) + torch.randint(0, 20, (n,))
    x[:, 0] = 1
    return x, y


class Sentiment(nn.Module):
    def __init__(self, batch_first: bool, d: int = 32) -> None:
        super().__init__()
        self.emb = nn.Embedding(200, d)
        self.pos = nn.Parameter(0.02 * torch.randn(24, d))
        layer = nn.TransformerEncoderLayer(d, 4, 64, dropout=0.1, batch_first=batch_first)
        self.enc = nn.TransformerEncoder(layer, 2)
        self.cls = nn.Linear(d, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.enc(self.emb(x) + self.pos)
        return self.cls(h[:, 0])


@pair(
    "wiring",
    why="input is (batch, seq, dim) but batch_first is left False: attention mixes the samples of the batch "
    "instead of the tokens; loss stuck at 0.693",
    source="symptom: TransformerEncoder classifier with CLS token, loss stuck at 0.69, batch_first forgotten",
)
def transformer_batch_first(faulty: bool) -> Program:
    torch.manual_seed(105)
    x, y = drawn(reviews, 30 * 32, held_out=500)
    model = Sentiment(batch_first=not faulty)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    return Program(model, split(32, x, y), nn.CrossEntropyLoss(), optimizer)


def chains(following: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Tokens, each of which is one of the three that may follow the last, and the same a step later."""
    steps = [torch.randint(0, 200, (n, 1))]
    for _ in range(20):
        k = torch.multinomial(torch.tensor([0.8, 0.15, 0.05]), n, True)
        steps.append(following[steps[-1][:, 0], k][:, None])
    chain = torch.cat(steps, 1)
    return chain[:, :-1], chain[:, 1:]


class RNNLM(nn.Module):
    def __init__(self, small: bool, d: int = 160) -> None:
        super().__init__()
        self.emb = nn.Embedding(200, d)
        if small:
            nn.init.normal_(self.emb.weight, std=0.05)
        self.rnn = nn.GRU(d, d, batch_first=True)
        self.norm = nn.LayerNorm(d)
        self.dec = nn.Linear(d, 200, bias=False)
        self.dec.weight = self.emb.weight

    def forward(self, x: Tensor) -> Tensor:
        h, _ = self.rnn(self.emb(x))
        return self.dec(self.norm(h))


def lm_loss(logits: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), y.reshape(-1))


@pair(
    "init",
    why="decoder weight tied to nn.Embedding, whose default init is N(0,1): logits of size 10, "
    "first loss 35 instead of ln(V)=5.3, very slow",
    source="symptom: language model loss starts at hundreds with tied weights, nanoGPT-like init std 0.02 forgotten",
)
def tied_embedding_scale(faulty: bool) -> Program:
    torch.manual_seed(125)
    following = torch.stack([torch.randperm(200) for _ in range(3)], 1)
    x, y = drawn(partial(chains, following), 30 * 16, held_out=64)
    model = RNNLM(small=not faulty)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return Program(model, split(16, x, y), lm_loss, optimizer)


def tagged_bags(n: int) -> tuple[Tensor, Tensor]:
    """Bags of words, of which twelve belong to each tag, and ten tags, of which any number may be set."""
    rate = torch.rand(n, 1) * 0.6
    y = (torch.rand(n, 10) < rate).float()
    x = (torch.rand(n, 300) < 0.02).float()
    on = y.repeat_interleave(12, 1) * (torch.rand(n, 120) < 0.3).float()
    x[:, :120] = torch.maximum(x[:, :120], on)
    return x, y


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(300, 64), nn.Linear(64, 64), nn.Linear(64, 10)
        self.drop = nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc3(self.drop(F.relu(self.fc2(F.relu(self.fc1(x))))))


@pair(
    "loss",
    "data",
    why="multi-hot tags passed to CrossEntropyLoss as if they were class probabilities: the tags compete in one "
    "softmax, thresholded predictions are poor",
    source="symptom: multi-label classification with nn.CrossEntropyLoss on multi-hot targets, F1 does not improve",
)
def multilabel_cross_entropy(faulty: bool) -> Program:
    torch.manual_seed(127)
    x, y = drawn(tagged_bags, 25 * 64, held_out=600)
    model = Tagger()
    loss = nn.CrossEntropyLoss() if faulty else nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return Program(model, split(64, x, y), loss, optimizer)


def intents(n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Sentences of 6 to 15 words, padded to 70, and their lengths."""
    lengths = torch.randint(6, 16, (n,))
    y = torch.randint(0, 4, (n,))
    x = torch.randint(33, 150, (n, 70))
    for _ in range(2):
        x[torch.arange(n), (torch.rand(n) * lengths).long()] = 1 + 8 * y + torch.randint(0, 8, (n,))
    x[torch.arange(70)[None] >= lengths[:, None]] = 0
    return x, lengths, y


class IntentLSTM(nn.Module):
    def __init__(self, by_length: bool) -> None:
        super().__init__()
        self.by_length = by_length
        self.emb = nn.Embedding(150, 32, padding_idx=0)
        self.lstm = nn.LSTM(32, 48, batch_first=True)
        self.fc = nn.Linear(48, 4)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        out, _ = self.lstm(self.emb(x))
        return self.fc(out[torch.arange(len(x)), lengths - 1] if self.by_length else out[:, -1])


@pair(
    "wiring",
    "data",
    "depth",
    why="out[:, -1] of right-padded sentences is the state after some sixty pad tokens, not after the last word: "
    "the signal is forgotten, accuracy at chance",
    source="symptom: LSTM text classifier stuck, takes output at the last (padded) time step instead of packing",
)
def lstm_last_is_padding(faulty: bool) -> Program:
    torch.manual_seed(128)
    x, lengths, y = drawn(intents, 24 * 40, held_out=400)
    model = IntentLSTM(by_length=not faulty)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return Program(model, split(40, x, lengths, y), nn.CrossEntropyLoss(), optimizer)


def reversals(n: int) -> tuple[Tensor, Tensor]:
    x = torch.randint(0, 30, (n, 14))
    return x, x.flip(1)


class PositionalEncoding(nn.Module):
    def __init__(self, length: int, d: int) -> None:
        super().__init__()
        self.table = nn.Parameter(0.1 * torch.randn(length, d))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table[: x.shape[1]]


class Reverser(nn.Module):
    def __init__(self, discarded: bool, d: int = 40) -> None:
        super().__init__()
        self.discarded = discarded
        self.emb = nn.Embedding(30, d)
        self.pos = PositionalEncoding(14, d)
        layer = nn.TransformerEncoderLayer(d, 4, 80, dropout=0.0, batch_first=True, norm_first=True)
        self.enc = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(d))
        self.out = nn.Linear(d, 30)

    def forward(self, x: Tensor) -> Tensor:
        h = self.emb(x)
        if self.discarded:
            self.pos(h)
        else:
            h = self.pos(h)
        return self.out(self.enc(h))


def tok_loss(o: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(o.transpose(1, 2), y)


@pair(
    "wiring",
    why="the result of self.pos(h) is not assigned, so no position information reaches the encoder "
    "and the table never gets a gradient: cannot learn the order",
    source="symptom: transformer on reversing a sequence plateaus, positional encoding's grad is None",
)
def positional_encoding_unused(faulty: bool) -> Program:
    torch.manual_seed(135)
    x, y = drawn(reversals, 30 * 32, held_out=200)
    model = Reverser(discarded=faulty)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    return Program(model, split(32, x, y), tok_loss, optimizer)


PAIRS: tuple[Pair, ...] = (
    textcnn_softmax_ce,
    transformer_batch_first,
    tied_embedding_scale,
    multilabel_cross_entropy,
    lstm_last_is_padding,
    positional_encoding_unused,
)
