"""Floor 5, sweeps: grids of small training runs, many at once; what is imported when first used needs torch or not.

A store can be looked at without torch; specifications and the engine import it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gainstage.lazy import lazy_attributes

if TYPE_CHECKING:
    from gainstage.sweep.cells import Cell, Row
    from gainstage.sweep.data import Data
    from gainstage.sweep.execution import execute, plan
    from gainstage.sweep.plans import Chunk, Plan
    from gainstage.sweep.progress import Progress
    from gainstage.sweep.result import Result
    from gainstage.sweep.runner import resume, run
    from gainstage.sweep.settings import Settings
    from gainstage.sweep.spec import Spec, Stop
    from gainstage.sweep.trainability import TrainabilityMap, map_of_rows, trainability_map

__all__ = [
    "Cell", "Chunk", "Data", "Plan", "Progress", "Result", "Row", "Settings", "Spec", "Stop", "TrainabilityMap",
    "execute", "map_of_rows", "plan", "resume", "run", "trainability_map",
]  # fmt: skip

__getattr__ = lazy_attributes(
    __name__,
    {
        "Cell": "gainstage.sweep.cells",
        "Chunk": "gainstage.sweep.plans",
        "Data": "gainstage.sweep.data",
        "Plan": "gainstage.sweep.plans",
        "Progress": "gainstage.sweep.progress",
        "Result": "gainstage.sweep.result",
        "Row": "gainstage.sweep.cells",
        "Settings": "gainstage.sweep.settings",
        "Spec": "gainstage.sweep.spec",
        "Stop": "gainstage.sweep.spec",
        "TrainabilityMap": "gainstage.sweep.trainability",
        "execute": "gainstage.sweep.execution",
        "map_of_rows": "gainstage.sweep.trainability",
        "plan": "gainstage.sweep.execution",
        "resume": "gainstage.sweep.runner",
        "run": "gainstage.sweep.runner",
        "trainability_map": "gainstage.sweep.trainability",
    },
)
