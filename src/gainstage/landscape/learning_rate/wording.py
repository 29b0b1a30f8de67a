"""Why a rate is suggested, in sentences."""

from __future__ import annotations

import math

from gainstage.landscape.learning_rate.search import STEPS, Search
from gainstage.landscape.learning_rate.updates import Updates
from gainstage.trace.subject import Subject

VALIDITY = (
    "Holds for some hundred steps at a constant rate from these weights and this batch size; a warm-up allows more, "
    "a long run to a low loss wants a decay."
)
_FEW = 8


def reason_of(rate: float, edge: float, held: float, lost: float, noise: float) -> str:
    """What the rate rests on."""
    runs = f"runs of {STEPS} steps"
    if not held:
        found = f"{runs} already lost their way at {lost:.2g}, the smallest rate tried"
    elif lost == math.inf:
        found = f"{runs} still held at {held:.2g}, the largest rate tried"
    else:
        found = f"{runs} held at {held:.2g} and lost their way at {lost:.2g}"
    loud = "noisy" if noise > 1 else "steady"
    below = f"it lies {edge / rate:.2g} times below"
    return f"{found}; gradients are {loud} between batches (noise {noise:.2g}), so {below}."


def notes_of(subject: Subject, chosen: Updates, search: Search, limit: float | None, safe: float) -> tuple[str, ...]:
    """What else to know."""
    found: list[str] = []
    count = len(chosen.subject.batches.take(_FEW))
    if count < _FEW:
        batches = "one batch" if count == 1 else f"{count} batches"
        found.append(f"Only {batches}: runs that repeat them say little of noise; pass {_FEW} or more.")
    if not subject.model.training:
        found.append("The model was handed over in evaluation mode; it was trained in training mode.")
    if chosen.groups > 1:
        found.append("The rate is of the parameter group with the largest; the others keep their ratios to it.")
    if not any(run.held for run in search.runs):
        found.append("No short run held: look at the initialization and the data first (gainstage check).")
    if limit is not None and chosen.family == "plain" and limit < safe / 3:
        found.append(
            f"The curvature alone would allow {limit:.2g} (2/\u03bb_max); training flattens the way and goes further."
        )
    return tuple(found)
