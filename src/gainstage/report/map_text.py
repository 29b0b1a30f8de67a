"""A map of trainability on a terminal: a block of characters for each variant, and what is to be read off it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from gainstage.report.wording import counted, figure
from gainstage.sweep.trainability.records import MapCell, Region, TrainabilityMap

# By progress, from the best run's down; a run that diverged has a mark of its own.
SHADES = ((0.9, "█"), (0.5, "▓"), (0.1, "░"), (-2.0, "·"))
DIVERGED = "×"
LEGEND = "█ nearly the best loss   ▓ trains   ░ little   · nothing   × diverged"


def map_lines(found: TrainabilityMap, width: int) -> list[str]:
    """The map as text.

    Args:
        found: The map.
        width: Characters in a line; as many variants stand side by side as fit.
    """
    blocks = [_block(found, region) for region in found.regions]
    across = max(1, width // (max(len(line) for block in blocks for line in block) + 3))
    lines: list[str] = []
    for start in range(0, len(blocks), across):
        row = blocks[start : start + across]
        size = max(len(line) for block in row for line in block)
        for parts in itertools.zip_longest(*row, fillvalue=""):
            lines.append("   ".join(part.ljust(size) for part in parts).rstrip())
        lines.append("")
    return [*lines, LEGEND, "", *summary_lines(found)]


def _block(found: TrainabilityMap, region: Region) -> list[str]:
    """One variant: a line for every second scale, a character for each learning rate."""
    filled = found.filled(region.norm)
    rows = range(len(found.scales.values) - 1, -1, -2 if len(found.scales.values) > 12 else -1)
    lines = [f"       {region.norm}"]
    for row in rows:
        cells = "".join(mark(filled[row, column]) for column in range(len(found.rates.values)))
        lines.append(f"{found.scales.values[row]:>6.3g} {cells}")
    low, high = (f"{found.rates.values[end]:g}" for end in (0, -1))
    gap = max(1, len(found.rates.values) - len(low) - len(high))
    return [*lines, f" scale {low}{' ' * gap}{high}  lr"]


def mark(cell: MapCell) -> str:
    """The character of a run."""
    if cell.diverged_at is not None:
        return DIVERGED
    return next(shade for least, shade in SHADES if cell.progress >= least)


def summary_lines(found: TrainabilityMap) -> Iterator[str]:
    """What the map says, in words."""
    for region in found.regions:
        yield f"{region.norm}: {region_in_words(region)}"
    for norm, reason in found.skipped:
        yield f"{norm}: not mapped: {reason}."
    yield from found.notes
    yield ground(found)


def region_in_words(region: Region) -> str:
    """One variant in a sentence or two."""
    if region.best is None:
        return "trains nowhere on this map."
    scale, lr, loss = region.best
    best = f"best at scale {figure(scale)}, lr {figure(lr)} (loss {figure(loss)})"
    if region.recommended_lr is None or region.lr_low is None:
        return f"does not train at the model's own initial scale; {best}."
    edge = ", or wider: it reaches the map's end" if region.to_edge else ""
    return (
        f"trains over {figure(region.lr_decades, 2)} decades of learning rate ({figure(region.lr_low)} to "
        f"{figure(region.lr_high)}{edge}) at its own initial scale, and over {figure(region.scale_decades, 2)} decades "
        f"of scale at the recommended rate; {best}. Recommended: lr {figure(region.recommended_lr)}, "
        f"{figure(region.margin, 2)} times below the largest that trains."
    )


def ground(found: TrainabilityMap) -> str:
    """What was run, and what the judgement rests on."""
    runs = f"{counted(len(found.cells), 'run')} of {found.steps} steps with {found.optimizer}"
    if found.start is None or found.best is None:
        return f"{runs}; no loss was finite."
    followed = f"along the boundary runs lie {found.resolution:g} decades apart"
    if not found.complete:
        end = "Ctrl-C" if found.interrupted else "the end of the budget"
        followed += f", as far as it was followed until {end}"
    return (
        f"{runs}; a run trains if it makes half of the way from {figure(found.start)}, where a network that knows "
        f"nothing stands, to {figure(found.best)}, the best; {followed}."
    )
