"""What a program is, faulty and mended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Causes = tuple[str, ...]


@dataclass(frozen=True)
class Program:
    """What a training loop has at its first step; a batch is inputs and, last, targets."""

    model: nn.Module
    batches: Sequence[tuple[Tensor, ...]]
    loss: Callable[[Any, Any], Tensor]
    optimizer: torch.optim.Optimizer


@dataclass(frozen=True)
class Pair:
    """A program with a bug as users reported it, and the same without.

    Attributes:
        name: The module's and the function's.
        make: Given whether it is to be faulty; it seeds torch by itself.
        causes: The true cause and what an expert would take for it as well; empty where there is no faulty one.
        why: What the bug is, and what was seen.
        source: Where it was reported, or the symptom.
    """

    name: str
    make: Callable[[bool], Program]
    causes: Causes
    why: str
    source: str


def pair(*causes: str, why: str, source: str) -> Callable[[Callable[[bool], Program]], Pair]:
    """Makes a pair of a function from whether it is to be faulty to the program."""

    def made(make: Callable[[bool], Program]) -> Pair:
        return Pair(_name(make), make, causes, why, source)

    return made


def sound(*, source: str) -> Callable[[Callable[[], Program]], Pair]:
    """Makes a program without a faulty twin of a function."""

    def made(make: Callable[[], Program]) -> Pair:
        return Pair(_name(make), lambda _: make(), (), "", source)

    return made


def _name(make: Callable[..., Program]) -> str:
    return f"{make.__module__.rpartition('.')[2]}/{make.__name__}"
