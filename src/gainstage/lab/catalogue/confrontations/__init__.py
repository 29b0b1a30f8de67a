"""The confrontations: text, numbers, judges and figures, a file each. None of it needs torch."""

from __future__ import annotations

from typing import Any

from gainstage.errors import UnknownNameError
from gainstage.lab.catalogue.confrontations import (
    exploding_gradients,
    initial_weights,
    large_rates,
    two_shifts,
    why_it_works,
)
from gainstage.lab.confrontation import Confrontation

CONFRONTATIONS: tuple[Confrontation[Any], ...] = (
    exploding_gradients.CONFRONTATION,
    two_shifts.CONFRONTATION,
    large_rates.CONFRONTATION,
    initial_weights.CONFRONTATION,
    why_it_works.CONFRONTATION,
)


def find(confrontation_id: str, operation: str) -> Confrontation[Any]:
    """The confrontation of that id.

    Raises:
        UnknownNameError: if there is none; the nearest is suggested.
    """
    known = {entry.id: entry for entry in CONFRONTATIONS}
    if confrontation_id not in known:
        raise UnknownNameError(operation, "confrontation", confrontation_id, known)
    return known[confrontation_id]
