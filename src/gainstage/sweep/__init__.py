"""Floor 5, sweeps: grids of small training runs, many at once."""

from gainstage.sweep.cells import Cell, Row
from gainstage.sweep.plans import Chunk, Plan
from gainstage.sweep.settings import Settings
from gainstage.sweep.spec import Spec, Stop
from gainstage.sweep.trainability import TrainabilityMap, trainability_map

__all__ = ["Cell", "Chunk", "Plan", "Row", "Settings", "Spec", "Stop", "TrainabilityMap", "trainability_map"]
