"""A small sweep for trying things out, in examples and tests."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from gainstage.sweep.data import Data
from gainstage.sweep.spec import Spec

NORMS = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm, "none": None}


def mlp(
    inputs: int = 8, classes: int = 3, depth: int = 2, width: int = 16, norm: str = "none", dropout: float = 0.0
) -> nn.Module:
    """A perceptron with ReLU: ``depth`` hidden layers of one width, each with a norm before its activation.

    Args:
        inputs, classes: Of the first and the last layer.
        depth: Hidden layers.
        width: Of each.
        norm: ``batch``, ``layer`` or ``none``.
        dropout: The share that is dropped behind each activation.

    Example:
        >>> len(mlp(norm="batch"))
        7
    """
    layers: list[nn.Module] = []
    for before in (inputs, *[width] * (depth - 1)):
        layers.append(nn.Linear(before, width))
        kind = NORMS[norm]
        layers += [kind(width)] if kind else []
        layers.append(nn.ReLU())
        layers += [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*layers, nn.Linear(width, classes))


def blobs(classes: int = 3, features: int = 8, samples: int = 96) -> Data:
    """Normal clouds around random centres, one for each class; a third of the samples is for testing."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(samples) % classes
    centres = 2 * torch.randn(classes, features, generator=generator)
    inputs = centres[targets] + torch.randn(samples, features, generator=generator)
    held = samples // 3
    return Data(inputs[held:], targets[held:], inputs[:held], targets[:held])


def blobs_spec(**options: Any) -> Spec:
    """A specification of `mlp` on `blobs`.

    Args:
        **options: Fields of `Spec`; ``fixed`` is a batch size of 16 unless it is given.
    """
    fields: dict[str, Any] = {"name": "blobs", "model": mlp, "data": blobs, "fixed": {"batch_size": 16}, **options}
    return Spec(**fields)
