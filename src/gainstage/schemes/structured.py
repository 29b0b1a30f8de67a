"""Schemes for whole networks: a layer scheme, and what the place in a residual stream changes about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gainstage.schemes.targets import MAPS, branch_scales, chains
from gainstage.trace.graph import Residual
from gainstage.trace.records import Trace


@dataclass(frozen=True)
class Structured:
    """A named scheme for whole networks.

    Attributes:
        source: The paper.
        base: The layer scheme, or one of ``auto`` and its kin, that draws the weights.
        scales: What the draws are multiplied with, by position of their layers in the trace; 1 for the others.
        why: For the plan's note, in words that follow the scale.
    """

    source: str
    base: str
    scales: Callable[[Trace], dict[int, float]]
    why: str


def fixup_scales(trace: Trace) -> dict[int, float]:
    """Fixup: in a stream of L branches of m maps, all but the last times L^(-1/(2m-2)); the last, and the read-out, 0.

    The scalar biases and multipliers of the paper are the architecture's; they are left as they are built.

    Args:
        trace: Of one pass of the model.

    Returns:
        By position in ``trace.layers``.

    References:
        Zhang, Dauphin and Ma 2019, Fixup initialization: residual learning without normalization.
    """
    scales: dict[int, float] = {}
    for chain in chains(trace):
        for block in chain:
            maps = _maps(trace, block)
            for position in maps[:-1]:
                scales[position] = len(chain) ** (-1 / (2 * len(maps) - 2))
            for position in maps[-1:]:
                scales[position] = 0.0
    return {**scales, **_read_out(trace)}


def skip_init_scales(trace: Trace) -> dict[int, float]:
    """SkipInit and ReZero, α = 0, where the model has no α: the last map of each branch is 0.

    Args:
        trace: Of one pass of the model.

    Returns:
        By position in ``trace.layers``.

    References:
        De and Smith 2020, Batch normalization biases residual blocks towards the identity function; Bachlechner
        et al. 2021, ReZero is all you need.
    """
    return {maps[-1]: 0.0 for chain in chains(trace) for block in chain if (maps := _maps(trace, block))}


def _maps(trace: Trace, block: Residual) -> list[int]:
    return [position for position in block.branch if trace.layers[position].kind in MAPS]


def _read_out(trace: Trace) -> dict[int, float]:
    """The last map, if the loss reads it."""
    position = None if trace.loss_record is None else trace.loss_record.input
    if position is None:
        position = len(trace.layers) - 1
    return {position: 0.0} if trace.layers[position].kind in MAPS else {}


STRUCTURED: dict[str, Structured] = {
    "fixup": Structured("Zhang et al. 2019", "auto", fixup_scales, "Fixup"),
    "skipinit": Structured("De and Smith 2020", "auto", skip_init_scales, "SkipInit"),
    "gpt2": Structured("Radford et al. 2019", "gpt", branch_scales, "residual projections by 1/√(2·layers)"),
}
