"""Floor 3, the loss around a point: how far a step is safe, how sharply the loss bends, how noisy its gradient is.

Each name is imported when it is first used. Every probe works on a copy of the model (`objective`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gainstage.lazy import lazy_attributes

if TYPE_CHECKING:
    from gainstage.landscape.objective import Objective

_HOMES = {
    "Objective": "gainstage.landscape.objective",
}

__all__ = ["Objective"]

__getattr__ = lazy_attributes(__name__, _HOMES)
