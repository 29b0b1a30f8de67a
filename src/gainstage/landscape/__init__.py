"""Floor 3, the loss around a point: how far a step is safe, how sharply the loss bends, how noisy its gradient is.

Each name is imported when it is first used. Every probe works on a copy of the model (`objective`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gainstage.lazy import lazy_attributes

if TYPE_CHECKING:
    from gainstage.landscape.eigenvalues import Curvature, curvature, curvature_of
    from gainstage.landscape.objective import Objective
    from gainstage.landscape.stability import adam_stable_lr, stable_lr
    from gainstage.landscape.traces import HessianTrace, hessian_trace

_HOMES = {
    "Curvature": "gainstage.landscape.eigenvalues",
    "HessianTrace": "gainstage.landscape.traces",
    "Objective": "gainstage.landscape.objective",
    "adam_stable_lr": "gainstage.landscape.stability",
    "curvature": "gainstage.landscape.eigenvalues",
    "curvature_of": "gainstage.landscape.eigenvalues",
    "hessian_trace": "gainstage.landscape.traces",
    "stable_lr": "gainstage.landscape.stability",
}

__all__ = [
    "Curvature",
    "HessianTrace",
    "Objective",
    "adam_stable_lr",
    "curvature",
    "curvature_of",
    "hessian_trace",
    "stable_lr",
]

__getattr__ = lazy_attributes(__name__, _HOMES)
