"""Importing what the zoo is built from; a package that cannot be is named in `MISSING`, with the reason."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch

MISSING: dict[str, str] = {}
_LIBRARIES: list[torch.library.Library] = []


def package(name: str) -> ModuleType | None:
    """The module, or None."""
    _define_vision_operations()
    try:
        return importlib.import_module(name)
    except Exception as error:  # a package that is broken fails in any way
        MISSING[name] = f"{type(error).__name__}: {error}".splitlines()[0]
        return None


def _define_vision_operations() -> None:
    """torchvision without its compiled library imports only if the operations that it describes exist."""
    if _LIBRARIES or "torchvision" in sys.modules:
        return
    try:
        importlib.import_module("torchvision")
    except Exception:
        for module in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[module]
        library = torch.library.Library("torchvision", "DEF")
        for operation in ("nms", "qnms"):
            library.define(f"{operation}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _LIBRARIES.append(library)
