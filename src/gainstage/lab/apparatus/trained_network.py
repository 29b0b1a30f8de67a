"""A network that a sweep's cell has trained, for claims that look at more of it than its curves."""

from __future__ import annotations

from torch import nn

from gainstage.seeding import preserved_rng
from gainstage.sweep import Spec
from gainstage.sweep.cells import Cell
from gainstage.sweep.data import loaded
from gainstage.sweep.engine.initial import built, drawing_seed
from gainstage.sweep.engine.looped import Trial
from gainstage.sweep.settings import settings


def trained_network(spec: Spec, cell: Cell) -> nn.Module:
    """The network of a cell after its last update, or after the one at which it diverged; in training mode.

    It is the one whose figures `gainstage.lab.apparatus.training.trained` gives with ``mode="looped"``.

    Args:
        spec: What is trained, on what and where.
        cell: One of its cells.
    """
    network = built(spec, cell, loaded(spec))
    trial = Trial(spec, cell, network)
    with preserved_rng(drawing_seed(settings(cell.values).seed)):
        trial.train()
    return network
