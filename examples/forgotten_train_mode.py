"""A model that was left in eval mode by a validation round: its batch norms do not normalize.

python examples/forgotten_train_mode.py
"""

from __future__ import annotations

import torch
from torch import nn

import gainstage as gs


def factory() -> gs.Subject:
    """A small convolutional network in eval mode, with an optimizer that is about to train it."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4),
    )  # fmt: skip
    model.eval()
    batch = torch.randn(32, 3, 16, 16), torch.randint(4, (32,))
    return gs.Subject(model, batch, nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), lr=0.1))


def main() -> None:
    """Show the finding, and that the fix removes it."""
    subject = factory()
    report = gs.check(subject)
    print(report)
    fixed = report.fixes()[0].apply(subject)
    print("\nafter the fix:", "no problem found" if gs.check(fixed).ok else "more to do")


if __name__ == "__main__":
    main()
