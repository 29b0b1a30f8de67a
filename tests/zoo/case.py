"""One network of the zoo: how it is built, what it is fed, how its loss comes about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import gainstage as gs


@dataclass(frozen=True)
class Size:
    """How large a case is built: small to be tested, larger to be timed.

    Attributes:
        batch: Samples.
        pixels: Side of an image, where the network lets one choose.
        width: Features of the vectors and layers of hand-made networks and of transformers.
        length: Tokens or steps of a sequence.
    """

    batch: int
    pixels: int
    width: int
    length: int


SMALL = Size(batch=2, pixels=64, width=16, length=8)
FULL = Size(batch=8, pixels=128, width=256, length=64)


@dataclass
class Parts:
    """What is recorded: as in `gainstage.Subject`."""

    model: nn.Module
    batch: Any
    loss: Callable[[Any, Any], torch.Tensor] | None = None
    forward: Callable[[nn.Module, Any], torch.Tensor] | None = None

    def subject(self) -> gs.Subject:
        return gs.Subject(self.model, self.batch, self.loss, forward=self.forward)


@dataclass(frozen=True)
class Case:
    name: str
    build: Callable[[Size], Parts]

    def parts(self, size: Size) -> Parts:
        """The same network each time, in training mode."""
        torch.manual_seed(0)
        parts = self.build(size)
        parts.model.train()
        return parts
