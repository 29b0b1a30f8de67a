"""Pitfall: relying on normalization. Weights thirty times too large, with a batch norm behind each layer.

The norms put the signal right, so that it looks as it should everywhere. But what a step of gradient descent does to a
normalized layer depends on its weights' length: at thirty times the length it turns them nine hundred times less.

python examples/wild_weights.py
gainstage check examples/wild_weights.py:bare
"""

from __future__ import annotations

import torch
from digits import accuracy, batches, digits, show, train, verdict
from torch import nn

import gainstage as gs

SCALE, DEPTH, RATE, STEPS, SEEDS = 30, 4, 0.1, 110, 5


def healthy(seed: int = 0) -> gs.Subject:
    """Four layers of linear map, batch norm and ReLU, with weights for what follows them."""
    layers: list[nn.Module] = []
    for _ in range(DEPTH):
        layers += [nn.Linear(64, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(64, 10))
    gs.initialize(model, seed=seed)
    return _subject(model)


def faulty(seed: int = 0) -> gs.Subject:
    """The same with the normalized weights thirty times as large."""
    model = healthy(seed).model
    with torch.no_grad():
        for layer in model[:-1]:
            if isinstance(layer, nn.Linear):
                layer.weight *= SCALE
    return _subject(model)


def bare(subject: gs.Subject | None = None) -> gs.Subject:
    """A subject, the faulty one by default, with its norms taken out: what they hide comes to light."""
    return _subject(gs.norm.replace((subject or faulty()).model, "batch", None).model)


def main() -> dict[str, list[tuple[float, float]]]:
    """Shows the failure, the finding and the cure; returns accuracies (without the cure, with it) of each seed."""
    print(f"gs.check on the network with wild weights: {verdict(faulty())}")
    print("\nWhat the norms hide stands in gs.norm.audit: 'gain' is what each has to undo, '1/|w|²' what a learning\n"
          f"rate is worth in front of it:\n\n{gs.norm.audit(faulty().model, digits()[0])}")  # fmt: skip
    unit, fit = (gs.landscape.effective_lr(subject).parameters[0].effective_lr for subject in (faulty(), healthy()))
    print(f"\nThe learning rate that a unit weight vector of the first layer feels: {unit:.2g}, and {fit:.2g} with "
          f"weights that fit ({fit / unit:.0f} times).")  # fmt: skip
    print(f"\nAnd what gs.check says of a copy without its norms:\n\n{gs.check(bare())}")

    wild = [_trained(faulty(seed), seed) for seed in range(SEEDS)]
    cured = [(before, _trained(healthy(seed), seed)) for seed, before in enumerate(wild)]
    show(f"Accuracy on held-out digits after {STEPS} steps, wild weights -> gs.initialize:", cured)
    raised = [(before, _trained(_raised(faulty(seed)), seed)) for seed, before in enumerate(wild)]
    show(f"To see that the learning rate is the reason: wild weights -> the same at {SCALE**2} times the rate:", raised)
    print(f"\ngs.check after gs.initialize: {verdict(healthy())}; without its norms: {verdict(bare(healthy()))}")
    return {"initialize": cured, "learning rate": raised}


def _subject(model: nn.Module) -> gs.Subject:
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    return gs.Subject(model, batches(digits()[0], 64), nn.CrossEntropyLoss(), optimizer)


def _raised(subject: gs.Subject) -> gs.Subject:
    """SCALE² times the learning rate for the weights in front of norms, and for no others."""
    wild = [layer.weight for layer in subject.model[:-1] if isinstance(layer, nn.Linear)]
    others = [each for each in subject.model.parameters() if all(each is not weight for weight in wild)]
    groups = [{"params": wild, "lr": SCALE**2 * RATE}, {"params": others}]
    return subject.replace(optimizer=torch.optim.SGD(groups, lr=RATE))


def _trained(subject: gs.Subject, seed: int) -> float:
    train(subject, STEPS, seed)
    return accuracy(subject.model.eval(), [digits()[1]])


if __name__ == "__main__":
    main()
