"""Pitfall: batch norm with tiny batches. Two samples are too few to tell a mean and a variance by.

While it trains, each sample is shifted and scaled by what its one companion happens to be; at inference the running
averages take over, which describe no batch that the network has ever worked with.

python examples/tiny_batches.py
gainstage check examples/tiny_batches.py:faulty
"""

from __future__ import annotations

import torch
from digits import accuracy, batches, digits, show, train, verdict
from torch import nn

import gainstage as gs

BATCH, STEPS, SEEDS = 2, 300, 5


def faulty(seed: int = 0) -> gs.Subject:
    """Two hidden layers with batch norm, trained on two digits at a time."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(64, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU(),
        nn.Linear(64, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU(),
        nn.Linear(64, 10),
    )  # fmt: skip
    return _subject(model)


def healthy(seed: int = 0) -> gs.Subject:
    """The same weights with layer norm, which needs no companions."""
    return _subject(gs.norm.replace(faulty(seed).model, "batch", "layer").model)


def main() -> dict[str, list[tuple[float, float]]]:
    """Shows the failure, the finding and the cure; returns accuracies (without the cure, with it) of each seed."""
    report = gs.check(faulty())
    print(f"Batch norm on two digits at a time. What gs.check says before any training:\n\n{report}")

    print(f"\nThe cure: gs.norm.replace(model, 'batch', 'layer')\n{gs.norm.replace(faulty().model, 'batch', 'layer')}")
    pairs = [(_trained(faulty(seed), seed), _trained(healthy(seed), seed)) for seed in range(SEEDS)]
    show(f"Accuracy on held-out digits after {STEPS} steps, batch norm -> layer norm:", pairs)
    print(f"\ngs.check with layer norm: {verdict(healthy())}")
    return {"replace": pairs}


def _subject(model: nn.Module) -> gs.Subject:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return gs.Subject(model, batches(digits()[0], BATCH), nn.CrossEntropyLoss(), optimizer)


def _trained(subject: gs.Subject, seed: int) -> float:
    train(subject, STEPS, seed)
    return accuracy(subject.model.eval(), [digits()[1]])


if __name__ == "__main__":
    main()
