"""Importing what the zoo is built from; a package that cannot be is named in `MISSING`, with the reason."""

from __future__ import annotations

import importlib
from types import ModuleType

from gainstage.integrations.vision_operations import declare_vision_operations

MISSING: dict[str, str] = {}


def package(name: str) -> ModuleType | None:
    """The module, or None."""
    declare_vision_operations()
    try:
        return importlib.import_module(name)
    except Exception as error:  # a package that is broken fails in any way
        MISSING[name] = f"{type(error).__name__}: {error}".splitlines()[0]
        return None
