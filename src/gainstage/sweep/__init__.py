"""Floor 5, sweeps: grids of small training runs, many at once."""

from gainstage.sweep.cells import Cell, Row
from gainstage.sweep.data import Data
from gainstage.sweep.execution import execute, plan
from gainstage.sweep.plans import Chunk, Plan
from gainstage.sweep.settings import Settings
from gainstage.sweep.spec import Spec, Stop

__all__ = ["Cell", "Chunk", "Data", "Plan", "Row", "Settings", "Spec", "Stop", "execute", "plan"]
