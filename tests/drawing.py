"""`initialize` as it draws: without the scaling by the batch's levels."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import gainstage as gs
from gainstage.schemes.initialize import initialize_subject


def drawn(model: nn.Module, batch: Any, scheme: str = "auto", seed: int = 0) -> Any:
    return initialize_subject(gs.Subject(model, batch, lambda *_: torch.zeros(())), scheme=scheme, seed=seed)
