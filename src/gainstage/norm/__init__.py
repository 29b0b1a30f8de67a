"""Floor 3, normalization: layers that torch lacks, and slow references of it all.

Each name is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gainstage.lazy import lazy_attributes

if TYPE_CHECKING:
    from gainstage.norm import layers, reference

_HOMES = {
    "layers": "gainstage.norm.layers",
    "reference": "gainstage.norm.reference",
}

__all__ = ["layers", "reference"]

__getattr__ = lazy_attributes(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
