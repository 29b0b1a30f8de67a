"""A loss that stands at 2.30: find out why, mend it, prove it.

python examples/stuck_at_chance.py
gainstage check examples/stuck_at_chance.py:factory
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import nn

import gainstage as gs


def factory() -> gs.Subject:
    """Twenty ReLU layers after Xavier's scheme, with a softmax before cross-entropy: two mistakes at once."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(20):
        linear = nn.Linear(64, 64)
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(64, 10), nn.Softmax(dim=1))
    images, labels = load_digits(return_X_y=True)
    inputs, targets = torch.tensor(images, dtype=torch.float32), torch.tensor(labels)
    inputs = (inputs - inputs.mean(0)) / (inputs.std(0) + 1e-6)
    batches = list(zip(inputs[:1408].split(64), targets[:1408].split(64), strict=True))
    return gs.Subject(model, batches, nn.CrossEntropyLoss(), torch.optim.Adam(model.parameters(), lr=1e-3))


def main() -> None:
    """Check, then try all fixes in a paired trial."""
    subject = factory()
    report = gs.check(subject)
    print(report)
    trial = gs.verify(subject, report.fixes(), steps=100)
    low, high = trial.interval
    print(
        f"\nimproved: {trial.improved}; the loss is lower by {trial.effect:.2f} (95 % interval {low:.2f} to {high:.2f})"
    )
    print(trial.note)


if __name__ == "__main__":
    main()
