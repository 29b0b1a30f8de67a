"""The layer schemes: one file a family, which registers what it holds when it is imported.

Files are found by themselves, in alphabetical order: a new scheme is a new file in this folder.
"""

from __future__ import annotations

import importlib
import pkgutil

from gainstage.errors import UnknownNameError
from gainstage.schemes.base import SCHEMES, LayerScheme
from gainstage.schemes.structured import STRUCTURED

AUTO = {
    "auto": "normal", "auto_normal": "normal", "auto_uniform": "uniform",
    "auto_truncated_normal": "truncated_normal",
}  # fmt: skip

# What draws the weights whose levels a batch sets then; another scheme is left as it is drawn.
DRIVEN = {**{name: name for name in AUTO}, "lsuv": "orthogonal"}

FAMILIES = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))
for _family in FAMILIES:
    importlib.import_module(f"{__name__}.{_family}")


def scheme_names() -> tuple[str, ...]:
    """All names that ``scheme=`` takes.

    Example:
        >>> scheme_names()[:3]
        ('auto', 'auto_normal', 'auto_uniform')
    """
    return (*DRIVEN, *STRUCTURED, *SCHEMES)


def scheme(name: str) -> LayerScheme:
    """The scheme of this name.

    Args:
        name: One of `SCHEMES`; ``auto`` and its kin are no scheme of their own.

    Raises:
        UnknownNameError: if there is none.

    Example:
        >>> scheme("he_uniform").source
        'He et al. 2015'
    """
    if name not in SCHEMES:
        raise UnknownNameError("initialize", "scheme", name, scheme_names())
    return SCHEMES[name]
