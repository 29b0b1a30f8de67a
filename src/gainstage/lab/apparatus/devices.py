"""Where an experiment runs."""

from __future__ import annotations

import torch


def device_of(name: str) -> str:
    """``cuda`` for ``auto`` where there is one, else ``cpu``; any other name as it is."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"
