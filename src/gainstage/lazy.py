"""Attributes that are imported when first used, so that what needs no torch answers at once (PEP 562)."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Mapping


def lazy_attributes(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """A module-level ``__getattr__`` that imports each name from its home on first use.

    Args:
        package: The package's ``__name__``.
        homes: Attribute name to the module that defines it; a name that equals the last part of its home
            is that sub-module itself.

    Returns:
        The function to bind as ``__getattr__``.
    """

    def resolve(name: str) -> object:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        # rich draws from python's generator when it is imported; a user's seed must survive a first `gs.check`.
        state = random.getstate()
        try:
            module = importlib.import_module(home)
        finally:
            random.setstate(state)
        return module if home.rpartition(".")[2] == name and not hasattr(module, name) else getattr(module, name)

    return resolve
