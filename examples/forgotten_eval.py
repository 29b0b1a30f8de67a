"""Pitfall: a trained network serves predictions in training mode, because nobody called eval().

Its batch norms go on taking mean and variance from whatever arrives together. A validation round of mixed digits shows
little of it; when four pictures of the same digit arrive at a time, what they have in common is subtracted. And every
prediction moves the running averages, so that a late eval() brings back only a part.

NRM003 catches it by the size of the requests. For larger ones gs.record says whose statistics the norms apply.

python examples/forgotten_eval.py
gainstage check examples/forgotten_eval.py:faulty
"""

from __future__ import annotations

from copy import deepcopy
from functools import cache

import torch
from digits import Batch, accuracy, batches, digits, show, train, verdict
from torch import nn

import gainstage as gs

SERVED, STEPS, SEEDS = 4, 150, 5


def faulty(seed: int = 0) -> gs.Subject:
    """A trained network as training left it, and the requests that it is to answer."""
    return gs.Subject(deepcopy(_trained(seed)), requests(), nn.CrossEntropyLoss())


def healthy(seed: int = 0) -> gs.Subject:
    """The same network in eval mode."""
    subject = faulty(seed)
    subject.model.eval()
    return subject


@cache
def requests() -> list[Batch]:
    """The held-out digits, four of a kind at a time: all zeros first, all nines last."""
    inputs, targets = digits()[1]
    order = targets.argsort(stable=True)
    return batches((inputs[order], targets[order]), SERVED)


def main() -> dict[str, list[tuple[float, float]]]:
    """Shows the failure, the finding and the cure; returns accuracies (without the cure, with it) of each seed."""
    mixed = [accuracy(subject.model, batches(digits()[1], 64)) for subject in (faulty(), healthy())]
    print("On 64 mixed digits at a time accuracy is {:.1%} in training mode, and {:.1%} in eval mode.".format(*mixed))
    report = gs.check(faulty())
    print(f"\nWhat gs.check says of the network and its requests, four of a digit at a time:\n\n{report}")
    norms = [layer.norm for layer in gs.record(faulty(), backward=False).layers if layer.norm]
    own = sum(norm.uses_batch_statistics for norm in norms)
    print(f"\nWhat gs.record sees: {own} of {len(norms)} batch norms apply the statistics of the request itself.")
    print("In service that is the fault itself, whatever the size of a request. The cure is model.eval().")

    served = [(accuracy(faulty(seed).model, requests()), accuracy(healthy(seed).model, requests()))
              for seed in range(SEEDS)]  # fmt: skip
    show("Accuracy on the requests, training mode -> eval mode:", served)
    print(f"\ngs.check in eval mode: {verdict(healthy())}")
    return {"eval()": served, "recalibrate": _repaired()}


@cache
def _trained(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for _ in range(3):
        layers += [nn.Linear(64, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    train(gs.Subject(model, batches(digits()[0], 64), nn.CrossEntropyLoss(), optimizer), STEPS, seed)
    return model


def _repaired() -> list[tuple[float, float]]:
    """What serving in training mode leaves behind, and the cure for that."""
    train_digits, pairs = digits()[0], list[tuple[float, float]]()
    for seed in range(SEEDS):
        spoiled = faulty(seed).model
        accuracy(spoiled, requests())
        audit = gs.norm.audit(spoiled, train_digits)
        spoiled.eval()
        mended = gs.norm.recalibrate(spoiled, batches(train_digits, 64)).model
        pairs.append((accuracy(spoiled, requests()), accuracy(mended, requests())))
        if seed == 0:
            print(f"\nAll that moved the running averages. What gs.norm.audit says after it:\n\n{audit}")
    show("Accuracy in eval mode after the damage, as it is -> after gs.norm.recalibrate on training data:", pairs)
    return pairs


if __name__ == "__main__":
    main()
