"""Unusual but sound programs that learn from the inputs alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from programs.mixed_data import Batches, split
from programs.pair import Pair, Program, sound


class TwoView(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enc = nn.Sequential(nn.Linear(50, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.proj = nn.Linear(64, 16)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        za, zb = (F.normalize(self.proj(self.enc(x)), dim=1) for x in (a, b))
        return za @ zb.t() / 0.15


def view(things: Tensor, features: Tensor) -> Tensor:
    """What noise and missing features leave of the things."""
    n = len(things)
    seen = torch.sin(1.3 * things @ features + 0.35 * torch.randn(n, 50))
    return seen * (torch.rand(n, 50) > 0.25).float() / 0.6


def clip_loss(logits: Tensor, target: Tensor) -> Tensor:
    return 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.t(), target))


@sound(
    source="contrastive learning of two views: the target is the row's own position in the batch, "
    "as the other rows are the negatives",
)
def contrastive_in_batch() -> Program:
    torch.manual_seed(404)
    n, batch_size = 20 * 32, 32
    features = torch.randn(8, 50) / 8**0.5
    things = torch.randn(n, 8)
    model = TwoView()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    target = torch.arange(batch_size).repeat(n // batch_size)
    batches = split(batch_size, view(things, features), view(things, features), target)
    return Program(model, batches, clip_loss, optimizer)


class TiedAutoencoder(nn.Module):
    def __init__(self, words: int, hidden: int, frequency: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.empty(hidden, words))
        nn.init.xavier_uniform_(self.w)
        self.bh = nn.Parameter(torch.zeros(hidden))
        self.bv = nn.Parameter(torch.log(frequency / (1 - frequency)))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(torch.sigmoid(F.linear(x, self.w, self.bh)) - 0.5, self.w.t(), self.bv)


def bags_of_words(words: int) -> Tensor:
    n, topics = 16 * 32, 6
    of_topic = torch.softmax(2.5 * torch.randn(topics, words), 1)
    mixture = torch.distributions.Dirichlet(torch.full((topics,), 0.15)).sample((n,))
    return (torch.rand(n, words) < 1 - torch.exp(-30 * mixture @ of_topic)).float()


@sound(
    source="autoencoder of word bags with tied weights, which get gradient from both sides, "
    "and an output bias that starts at the words' log odds",
)
def tied_autoencoder_bag_of_words() -> Program:
    torch.manual_seed(406)
    x = bags_of_words(200)
    model = TiedAutoencoder(200, 24, x.mean(0).clamp(0.01, 0.99))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return Program(model, split(32, x, x), nn.BCEWithLogitsLoss(), optimizer)


class MaskedModel(nn.Module):
    def __init__(self, words: int, length: int) -> None:
        super().__init__()
        self.emb = nn.Embedding(words + 1, 32)
        nn.init.normal_(self.emb.weight, std=0.02)
        self.pos = nn.Parameter(0.02 * torch.randn(1, length, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
        self.enc = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(32)
        self.bias = nn.Parameter(torch.zeros(words))

    def forward(self, ids: Tensor) -> Tensor:
        h = self.norm(self.enc(self.emb(ids) + self.pos))
        return h @ self.emb.weight[:-1].t() + self.bias


def masked_sentences(words: int, length: int) -> Batches:
    """Sequences that step through the words, a fifth of them masked, and what was masked."""
    n = 20 * 24
    start, step = torch.randint(0, words, (n, 1)), torch.randint(1, 4, (n, 1))
    ids = (start + step * torch.arange(length)) % words
    slips = torch.rand(n, length) < 0.03
    ids = torch.where(slips, torch.randint(0, words, (n, length)), ids)
    mask = torch.rand(n, length) < 0.2
    mask[:, 0] |= ~mask.any(1)
    target = torch.where(mask, ids, torch.full_like(ids, -100))
    return split(24, torch.where(mask, torch.full_like(ids, words), ids), target)


def masked_loss(out: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(out.flatten(0, 1), target.flatten(), ignore_index=-100)


@sound(
    source="masked token modelling: most targets are -100, which the loss ignores, "
    "and the small embedding (0.02) is also the read-out, in order under layer norms",
)
def masked_tokens() -> Program:
    torch.manual_seed(409)
    batches = masked_sentences(30, 16)
    model = MaskedModel(30, 16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.98), weight_decay=0.01)
    return Program(model, batches, masked_loss, optimizer)


PAIRS: tuple[Pair, ...] = (contrastive_in_batch, tied_autoencoder_bag_of_words, masked_tokens)
