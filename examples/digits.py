"""What the pitfalls share: scikit-learn's handwritten digits, a plain training loop, and how a cure is shown."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from sklearn.datasets import load_digits
from torch import nn

import gainstage as gs

TRAIN = 1400
Batch = tuple[torch.Tensor, torch.Tensor]


@cache
def digits() -> tuple[Batch, Batch]:
    """1400 digits to train on and 397 to judge by, of 64 grey levels each, standardised by the former."""
    images, labels = load_digits(return_X_y=True)
    inputs, targets = torch.tensor(images, dtype=torch.float32), torch.tensor(labels)
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    inputs, targets = inputs[order], targets[order]
    std = inputs[:TRAIN].std(0)
    # A pixel that is nearly always black would dominate the few pictures in which it is not.
    inputs = (inputs - inputs[:TRAIN].mean(0)) / std.clamp(min=0.1 * float(std.max()))
    return (inputs[:TRAIN], targets[:TRAIN]), (inputs[TRAIN:], targets[TRAIN:])


def batches(of: Batch, size: int) -> list[Batch]:
    """Whole batches, in the order of the data."""
    inputs, targets = of
    return [batch for batch in zip(inputs.split(size), targets.split(size), strict=True) if len(batch[0]) == size]


def train(subject: gs.Subject, steps: int, seed: int) -> None:
    """Trains the subject's model; the seed decides the order of its batches."""
    generator, held = torch.Generator().manual_seed(seed), list(subject.batches)
    subject.model.train()
    order: list[int] = []
    for _ in range(steps):
        order = order or torch.randperm(len(held), generator=generator).tolist()
        inputs, targets = held[order.pop()]
        loss = nn.functional.cross_entropy(subject.model(inputs), targets)
        subject.optimizer.zero_grad()
        loss.backward()
        subject.optimizer.step()


@torch.no_grad()
def accuracy(model: nn.Module, on: Sequence[Batch]) -> float:
    """The share of digits that the model names rightly, in the mode that it is in."""
    right = sum(int((model(inputs).argmax(1) == targets).sum()) for inputs, targets in on)
    return right / sum(len(targets) for _, targets in on)


def verdict(subject: gs.Subject) -> str:
    """The codes of the errors and warnings that gs.check finds, in a line."""
    found = [finding.code for finding in gs.check(subject).findings if finding.severity != "info"]
    return ", ".join(found) or "no problem found"


def show(what: str, pairs: Sequence[tuple[float, float]]) -> None:
    """Prints the accuracies before and after, seed by seed."""
    print(f"\n{what}")
    for seed, (before, after) in enumerate(pairs):
        print(f"  seed {seed}: {before:6.1%} -> {after:6.1%}")
    print(f"  better in {sum(after > before for before, after in pairs)} of {len(pairs)}")
