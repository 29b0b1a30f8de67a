"""Where a model trains: over the scale of its initial weights, the learning rate, and normalization."""

from gainstage.sweep.trainability.mapping import trainability_map
from gainstage.sweep.trainability.records import MapCell, Region, TrainabilityMap
from gainstage.sweep.trainability.rows import map_of_rows

__all__ = ["MapCell", "Region", "TrainabilityMap", "map_of_rows", "trainability_map"]
