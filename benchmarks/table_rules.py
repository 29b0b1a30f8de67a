"""What the scale of embeddings costs that outputs are made of: the limits of INI006 for them stand on it.

    python benchmarks/table_rules.py tied|products [--split dev|test] [--seeds 2]

``tied``: language models whose read-out is the embedding itself. A row a scale: the first loss over that of a uniform
guess, and the loss on held-out text after 300 steps of the better of two rates. ``products``: ratings as products of
embeddings. A row a scale: the standard deviation of the first outputs over that of the ratings, and the share of the
variance of held-out ratings that is explained. The test split has other sizes, networks and optimizers.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from statistics import fmean

import torch
from torch import nn
from torch.nn import functional as F

STEPS, BATCH = 300, 64
SCALES = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
Optimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


class Tied(nn.Module):
    """Two tokens back, or a recurrent layer over all of them, and the embedding once more."""

    def __init__(self, words: int, width: int, scale: float, *, recurrent: bool) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        nn.init.normal_(self.words.weight, std=scale / math.sqrt(width))
        self.body = nn.GRU(width, width, batch_first=True) if recurrent else nn.Linear(2 * width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.words(tokens)
        recurrent = isinstance(self.body, nn.GRU)
        x = self.body(x)[0] if recurrent else self.body(torch.cat([x, x.roll(1, 1)], -1)).relu()
        return F.linear(self.norm(x), self.words.weight)


class Products(nn.Module):
    """Rows and columns as vectors, their products, and a level for each."""

    def __init__(self, rows: int, columns: int, width: int, scale: float, mean: float) -> None:
        super().__init__()
        self.row, self.column = nn.Embedding(rows, width), nn.Embedding(columns, width)
        self.of_row, self.of_column = nn.Embedding(rows, 1), nn.Embedding(columns, 1)
        # Of products of two factors with this variance the sum over the width has the scale's square.
        for table in (self.row, self.column):
            nn.init.normal_(table.weight, std=math.sqrt(scale) * width**-0.25)
        for table in (self.of_row, self.of_column):
            nn.init.zeros_(table.weight)
        self.mean = nn.Parameter(torch.tensor(mean))

    def forward(self, row: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
        level = self.of_row(row)[:, 0] + self.of_column(column)[:, 0] + self.mean
        return (self.row(row) * self.column(column)).sum(1) + level


def text(words: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Sequences in which each word has eight that may follow: those to train on, and those that are held out."""
    generator = torch.Generator().manual_seed(seed)
    followers = torch.randint(words, (words, 8), generator=generator)
    tokens = torch.randint(words, (1500, 1), generator=generator)
    for _ in range(16):
        choice = torch.randint(8, (1500,), generator=generator)
        tokens = torch.cat([tokens, followers[tokens[:, -1], choice][:, None]], 1)
    return tokens[:1200], tokens[1200:]


def tied_loss(split: str, scale: float, optimizer: Optimizer, seed: int) -> tuple[float, float]:
    """The first loss over that of a guess, and that on held-out text after the training."""
    words, width = (200, 32) if split == "dev" else (400, 64)
    train, held_out = text(words, seed)
    torch.manual_seed(seed)
    model = Tied(words, width, scale, recurrent=split == "test")
    steps = optimizer(list(model.parameters()))

    def loss(tokens: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())

    with torch.no_grad():
        first = float(loss(train[:BATCH])) / math.log(words)
    for _ in range(STEPS):
        steps.zero_grad(set_to_none=True)
        loss(train[torch.randint(len(train), (BATCH,))]).backward()
        steps.step()
    with torch.no_grad():
        return first, float(loss(held_out))


def explained(split: str, scale: float, optimizer: Optimizer, seed: int) -> tuple[float, float]:
    """The outputs' first spread over the ratings', and the share of the held-out ratings' variance explained."""
    rows, columns, width = (100, 80, 16) if split == "dev" else (150, 100, 48)
    torch.manual_seed(seed)
    a, b = torch.randn(rows, 3), torch.randn(columns, 3)
    row, column = torch.randint(rows, (4000,)), torch.randint(columns, (4000,))
    ratings = 3.5 + 0.4 * (a[row] * b[column]).sum(1) + 0.3 * torch.randn(4000)
    model = Products(rows, columns, width, scale * float(ratings.std()), 3.5)
    steps = optimizer(list(model.parameters()))
    with torch.no_grad():
        spread = float(model(row, column).std() / ratings.std())
    for _ in range(2 * STEPS):
        index = torch.randint(3200, (BATCH,))
        steps.zero_grad(set_to_none=True)
        F.mse_loss(model(row[index], column[index]), ratings[index]).backward()
        steps.step()
    with torch.no_grad():
        left = F.mse_loss(model(row[3200:], column[3200:]), ratings[3200:])
    return spread, 1 - float(left / ratings[3200:].var())


OPTIMIZERS: dict[str, tuple[Optimizer, ...]] = {
    "dev": (lambda p: torch.optim.Adam(p, lr=3e-3), lambda p: torch.optim.Adam(p, lr=1e-2)),
    "test": (lambda p: torch.optim.AdamW(p, lr=3e-3), lambda p: torch.optim.AdamW(p, lr=1e-2)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("what", choices=("tied", "products"))
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    measure, best = (tied_loss, min) if options.what == "tied" else (explained, max)
    scales = SCALES if options.what == "tied" else (0.1, *SCALES, 12.0)
    for scale in scales:
        runs = [
            [measure(options.split, scale, optimizer, seed) for seed in range(options.seeds)]
            for optimizer in OPTIMIZERS[options.split]
        ]
        first = fmean(start for start, _ in runs[0])
        print(f"at first {first:.2f}, after: {best(fmean(end for _, end in run) for run in runs):.3f}", flush=True)


if __name__ == "__main__":
    main()
