"""Pitfall: an initialization for another activation. Xavier's scheme before ReLU, twenty-four layers deep.

Xavier's variance keeps a signal that passes through tanh. ReLU throws half of it away at every layer, and nothing makes
up for that.

python examples/wrong_scheme.py
gainstage check examples/wrong_scheme.py:faulty
"""

from __future__ import annotations

import torch
from digits import accuracy, batches, digits, show, train, verdict
from torch import nn

import gainstage as gs

DEPTH, STEPS, SEEDS = 24, 80, 5


def faulty(seed: int = 0) -> gs.Subject:
    """Twenty-four ReLU layers with Xavier's weights."""
    torch.manual_seed(seed)
    model = nn.Sequential(*[part for _ in range(DEPTH) for part in (nn.Linear(64, 64), nn.ReLU())], nn.Linear(64, 10))
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return _subject(model)


def healthy(seed: int = 0) -> gs.Subject:
    """The same network with weights for what follows them: He's scheme before ReLU."""
    model = faulty(seed).model
    gs.initialize(model, seed=seed)
    return _subject(model)


def main() -> dict[str, list[tuple[float, float]]]:
    """Shows the failure, the finding and the cure; returns accuracies (without the cure, with it) of each seed."""
    print("Twenty-four ReLU layers with Xavier's weights. What the signal loses on its way:")
    linear = [layer for layer in gs.record(faulty()).layers if layer.kind == "linear"]
    for layer in linear[::6]:
        print(f"  rms at layer {layer.name:>2}: {layer.rms:.2g}")

    report = gs.check(faulty())
    print(f"\nWhat gs.check says:\n\n{report}")

    pairs = [(_trained(faulty(seed), seed), _trained(healthy(seed), seed)) for seed in range(SEEDS)]
    show(f"Accuracy on held-out digits after {STEPS} steps, Xavier's weights -> He's:", pairs)
    print(f"\ngs.check on the network with He's weights: {verdict(healthy())}")
    return {"initialize": pairs}


def _subject(model: nn.Module) -> gs.Subject:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return gs.Subject(model, batches(digits()[0], 64), nn.CrossEntropyLoss(), optimizer)


def _trained(subject: gs.Subject, seed: int) -> float:
    train(subject, STEPS, seed)
    return accuracy(subject.model.eval(), [digits()[1]])


if __name__ == "__main__":
    main()
