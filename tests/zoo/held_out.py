"""Networks that nothing was developed on: by rule, one more variant of each of timm's families in the zoo.

The rule: of the variants that timm defines in the same file, other than the zoo's, the first by the alphabet with at
most 30 million parameters. Benchmarks judge theory on them; no threshold and no recogniser may be made to fit them.
"""

from __future__ import annotations

import importlib
from collections import defaultdict
from functools import partial
from typing import Any

import torch

from zoo import timm_models
from zoo.case import Case
from zoo.packages import package

MOST_PARAMETERS = 30_000_000


def cases() -> list[Case]:
    """The held-out networks; empty where timm is missing."""
    timm: Any = package("timm")
    if timm is None:
        return []
    entrypoints = importlib.import_module("timm.models").model_entrypoint
    families: dict[str, list[str]] = defaultdict(list)
    for name in sorted(timm.list_models()):
        families[entrypoints(name).__module__].append(name)
    covered = dict.fromkeys(entrypoints(name).__module__ for name in timm_models.NAMES)
    chosen = (_first(timm, families[module]) for module in covered)
    return [Case(f"timm:{name}", partial(timm_models.built, timm, name)) for name in chosen if name is not None]


def _first(timm: Any, names: list[str]) -> str | None:
    return next((name for name in names if name not in timm_models.NAMES and _is_small(timm, name)), None)


def _is_small(timm: Any, name: str) -> bool:
    try:
        with torch.device("meta"):
            model = timm.create_model(name, num_classes=10)
    except Exception:  # some compute with values while they are built
        return False
    return sum(parameter.numel() for parameter in model.parameters()) <= MOST_PARAMETERS
