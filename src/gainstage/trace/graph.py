"""What follows what: consumers of each layer, and residual blocks, from the layers' records alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gainstage.trace.records import LayerRecord

MAPS = ("linear", "conv", "embedding")
# A block that forks further back than this many layers is not looked for.
REACH = 400


@dataclass(frozen=True)
class Residual:
    """A residual block x + f(x), or P(x) + f(x) with a projection P on the skip.

    Attributes:
        sum: Position of the addition in `Trace.layers`.
        fork: Position of the layer whose output is x; None where x is the model's input.
        branch: Positions of the layers of f, in order.
        skip: Positions of the layers of P, in order; empty where x is carried on as it is.
    """

    sum: int
    fork: int | None
    branch: tuple[int, ...]
    skip: tuple[int, ...] = ()


def consumers(layers: Sequence[LayerRecord]) -> list[list[int]]:
    """For each layer, the positions of those that read its output."""
    found: list[list[int]] = [[] for _ in layers]
    for position, layer in enumerate(layers):
        for source in layer.inputs:
            found[source].append(position)
    return found


def residuals(layers: Sequence[LayerRecord]) -> tuple[Residual, ...]:
    """The residual blocks, in order of execution; they chain up to the residual stream.

    A sum is one if one of its terms is made of the other, or if one term comes from the same layer as the other
    by less: a projection, a norm, and no activation.
    """
    found: list[Residual] = []
    for position, layer in enumerate(layers):
        if layer.op == "add" and not layer.parameters and layer.inputs:
            block = _block(layers, position)
            if block is not None:
                found.append(block)
    return tuple(found)


def _block(layers: Sequence[LayerRecord], position: int) -> Residual | None:
    terms = sorted(set(layers[position].inputs))
    if len(terms) == 1:  # the other term is the model's input
        return Residual(position, None, _way(layers, terms, None))
    if _reaches(layers, terms[1:], terms[0]):
        return Residual(position, terms[0], _way(layers, terms[1:], terms[0]))
    if len(terms) != 2:
        return None
    fork = _common(layers, terms[0], terms[1])
    ways = [_way(layers, [term], fork) for term in terms]
    skip, branch = sorted(ways, key=lambda way: (_maps(layers, way), len(way)))
    plain = all(layers[i].kind != "activation" for i in skip) and _maps(layers, skip) <= 1
    if not plain or len(branch) <= len(skip) or not (_maps(layers, branch) and _bends(layers, branch, skip)):
        return None
    return Residual(position, fork, branch, skip)


def _maps(layers: Sequence[LayerRecord], way: Sequence[int]) -> int:
    return sum(layers[i].kind in MAPS for i in way)


def _bends(layers: Sequence[LayerRecord], branch: Sequence[int], skip: Sequence[int]) -> bool:
    curved = any(layers[i].kind in ("activation", "attention") for i in branch)
    return curved or _maps(layers, branch) > _maps(layers, skip)


def _way(layers: Sequence[LayerRecord], ends: Sequence[int], fork: int | None) -> tuple[int, ...]:
    """The layers between the fork and these ends, in order."""
    least = -1 if fork is None else fork
    seen: set[int] = set()
    waiting = [end for end in ends if end > least]
    while waiting:
        here = waiting.pop()
        if here not in seen:
            seen.add(here)
            waiting.extend(source for source in layers[here].inputs if source > least)
    return tuple(sorted(seen))


def _reaches(layers: Sequence[LayerRecord], ends: Sequence[int], target: int) -> bool:
    """Whether every end is made of the target's output."""
    for end in ends:
        seen, waiting = {end}, [end]
        while waiting and target not in seen:
            for source in layers[waiting.pop()].inputs:
                if source >= target and source not in seen and len(seen) < REACH:
                    seen.add(source)
                    waiting.append(source)
        if target not in seen:
            return False
    return True


def _common(layers: Sequence[LayerRecord], one: int, other: int) -> int | None:
    """The last layer that both are made of; None where that is the model's input."""
    sides = ({one}, {other})
    for _ in range(REACH):
        shared = sides[0] & sides[1]
        if shared:
            return max(shared)
        # The latest layer that only one side has seen cannot be shared before it is taken back one step.
        later = max(sides, key=max)
        latest = max(later)
        later.discard(latest)
        later.update(layers[latest].inputs)
        if not later:
            return None
    return None
