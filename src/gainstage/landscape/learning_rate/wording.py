"""Why a rate is suggested, in sentences."""

from __future__ import annotations

import math

from gainstage.landscape.learning_rate.search import STEPS, Search
from gainstage.landscape.learning_rate.updates import Updates
from gainstage.landscape.loss_along import StepProfile
from gainstage.trace.subject import Subject

VALIDITY = (
    "Holds for some hundred steps at a constant rate from these weights and this batch size; a warm-up allows more, "
    "a long run to a low loss wants a decay."
)
# Fewer batches are said to be few; a smaller share by which the loss falls along the first update is said to be small.
_FEW, _FALL = 8, 0.001
# Short runs that stay within this share of the reference have not learned anything yet.
_PROGRESS = 0.01


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
    times = edge / rate
    below = f"it lies {times:.2g}" if times < 10 else f"it lies {times:.0f}"
    return f"{found}; gradients are {loud} between batches (noise {noise:.2g}), so {below} times below {edge:.2g}."


def notes_of(
    subject: Subject, chosen: Updates, search: Search, profile: StepProfile, limit: float | None, safe: float
) -> tuple[str, ...]:
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
    held = any(run.held for run in search.runs)
    if not held:
        found.append("No short run held: look at the initialization and the data first (gainstage check).")
    if not held and all(not math.isfinite(run.losses[-1]) for run in search.runs):
        found.append("At every rate tried the loss ended as inf or nan: a batch, or half precision, may be the cause.")
    lowest = min((run.last for run in search.runs), default=math.inf)
    if held and lowest > search.reference - _PROGRESS * abs(search.reference):
        found.append(
            "No short run came below a network that knows nothing: if it trains at no rate, the cause is another "
            "(gainstage check)."
        )
    if min(profile.mean) > 1 - _FALL:
        found.append(
            "Along the first update the loss does not fall by a thousandth of itself: it hardly shows what a rate "
            "does, and the figures are rough."
        )
    if limit is not None and chosen.family == "plain" and limit < safe / 3:
        further = "training flattens the way and goes further" if held else "begin there rather"
        found.append(f"The curvature alone would allow {limit:.2g} (2/\u03bb_max); {further}.")
    return tuple(found)
