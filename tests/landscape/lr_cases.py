"""Subjects that a learning rate is suggested for."""

from __future__ import annotations

import json
import math

import torch
from torch import nn

from gainstage.landscape.learning_rate.records import LearningRate
from gainstage.landscape.learning_rate.suggestion import MOST

Pairs = list[tuple[torch.Tensor, torch.Tensor]]


def classes(count: int = 8) -> Pairs:
    """Which of four inputs is the largest."""
    inputs = torch.randn(16 * count, 4)
    return list(zip(inputs.split(16), inputs[:, :3].argmax(1).split(16), strict=True))


def values(scale: float = 1.0, shift: float = 0.0) -> Pairs:
    inputs = torch.randn(256, 4)
    return list(zip(inputs.split(32), (scale * inputs.sum(1, keepdim=True) + shift).split(32), strict=True))


def network(outputs: int = 3, *between: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), *between, nn.ReLU(), nn.Linear(8, outputs))


def require_whole(found: LearningRate) -> None:
    """What every answer owes."""
    assert 0 < found.recommended <= found.safe_max < math.inf
    assert found.equivalents <= MOST
    assert found.family in ("plain", "momentum", "adaptive")
    assert "\n" not in str(found)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["recommended"] == found.recommended
