"""Losses of which every figure is known, and what must be as before."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from gainstage.trace import Subject


class Vector(nn.Module):
    """Parameters alone: the loss is made of them."""

    def __init__(self, values: torch.Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(values.clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.w


def quadratic(a: torch.Tensor, w: torch.Tensor) -> Subject:
    """L = ½ wᵀAw."""
    return Subject(Vector(w), torch.zeros(1, len(w)), forward=lambda model, _: model.w @ a @ model.w / 2)


def normalized(seed: int = 0, *, scale: float = 1.0, width: int = 8) -> Subject:
    """Linear maps, each but the last with a batch norm."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Linear(6, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(),
            nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 3),
        ).double()  # fmt: skip
        batches = [(torch.randn(32, 6).double(), torch.randint(3, (32,))) for _ in range(2)]
    with torch.no_grad():
        for index in (0, 3):
            model[index].weight.mul_(scale)
            model[index + 1].eps = 1e-12
    return Subject(model, batches)


def state_of(subject: Subject) -> list[Any]:
    model = subject.model
    tensors = [tensor.clone() for tensor in (*model.parameters(), *model.buffers())]
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    optimizer = [] if subject.optimizer is None else tensors_in(subject.optimizer.state_dict())
    return [*tensors, *gradients, *optimizer, *(m.training for m in model.modules()), torch.get_rng_state()]


def tensors_in(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [item for part in value.values() for item in tensors_in(part)]
    if isinstance(value, (list, tuple)):
        return [item for part in value for item in tensors_in(part)]
    return [value.clone() if isinstance(value, torch.Tensor) else value]


def same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(one, other, strict=True)
    )
