"""How the level changes along a network, from a trace alone: what several rules measure.

A *plain segment* is a run of maps and activations between the places that set the level anew (norms, sums,
attention). Its change is the product of the gains of its layers, each its output's rms over that of what it
read, so that pooling between two layers does not count as a loss.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from gainstage.trace.graph import consumers
from gainstage.trace.records import LayerRecord, Trace

MAPS = ("linear", "conv")
ONE_STEP = 0.8  # share of a fall, in decades
SMALL_PART = 0.5  # share of the maps: a network that is one residual branch of its input must not lose its signal


@dataclass(frozen=True)
class Segment:
    """A plain run of layers.

    Attributes:
        layers: Maps and activations in order.
        repaired_by: The norm that reads the last of them, or None.
        summed: Whether its end is added to something: it is a residual branch.
        reads_out: Whether its last map is the network's read-out.
    """

    layers: tuple[LayerRecord, ...]
    repaired_by: LayerRecord | None
    summed: bool
    reads_out: bool

    @property
    def maps(self) -> tuple[LayerRecord, ...]:
        """Its maps, without the network's read-out, which may be small on purpose, and without a last one of zeros,
        which closes a residual branch at the start."""
        maps = tuple(layer for layer in self.layers if layer.kind in MAPS)
        return maps[:-1] if self.reads_out or (maps and maps[-1].weight_rms == 0) else maps

    def gains(self) -> Iterator[tuple[LayerRecord, float]]:
        """Each hidden map with its gain, including that of the activation behind it: rms out over rms in."""
        hidden = self.maps
        for layer in hidden:
            behind = self.activation_after(layer)
            out = layer.rms if behind is None else behind.rms
            if layer.input_rms and out is not None:
                yield layer, out / layer.input_rms

    def activation_after(self, layer: LayerRecord) -> LayerRecord | None:
        """The activation that reads this map, within the segment."""
        position = self._places[id(layer)]
        behind = self.layers[position + 1] if position + 1 < len(self.layers) else None
        return behind if behind is not None and behind.kind == "activation" else None

    @cached_property
    def _places(self) -> dict[int, int]:
        return {id(layer): position for position, layer in enumerate(self.layers)}

    def change(self) -> float | None:
        """log10 of the signal's rms at the end over that at the beginning; None where nothing was measured.

        A signal that falls to exactly zero counts as -inf.
        """
        gains = [gain for _, gain in self.gains()]
        if not gains:
            return None
        return -math.inf if min(gains) == 0 else sum(math.log10(gain) for gain in gains)


def in_branch(trace: Trace, segment: Segment) -> bool:
    """Whether a skip of a residual network leads past the whole segment, its branch being a small part of the network.

    What such a branch adds may start as next to nothing: the signal goes on beside it, and it opens in training.
    """
    maps = [position for position, layer in enumerate(trace.layers) if layer.kind in MAPS]
    own = {position for position in maps if any(trace.layers[position] is layer for layer in segment.layers)}
    branches = [set(block.branch).intersection(maps) for block in trace.residuals]
    return any(own and own <= branch and len(branch) <= SMALL_PART * len(maps) for branch in branches)


def of_one_step(decades: Iterable[float]) -> bool:
    """Whether a single layer answers for nearly all of a fall: what one small weight takes, its updates give back.

    Args:
        decades: What each layer adds to the level, log10.
    """
    falls = [-value for value in decades if value < 0]
    return bool(falls) and max(falls) > ONE_STEP * sum(falls)


def _plain(layer: LayerRecord) -> bool:
    return layer.kind in MAPS or (layer.kind == "activation" and layer.op not in ("softmax", "log_softmax", "glu"))


def segments(trace: Trace) -> tuple[Segment, ...]:
    """All plain segments, in order of execution."""
    read_by, opening = consumers(trace.layers), _opening(trace)
    path_maps = [layer for layer in main_path(trace) if layer.kind in MAPS]
    read_out = path_maps[-1] if path_maps else None
    found: list[Segment] = []
    for end, layer in enumerate(trace.layers):
        if not _plain(layer) or any(_continues(trace, end, reader, opening) for reader in read_by[end]):
            continue
        run = [end]
        while (before := _previous(trace, run[-1], opening)) is not None:
            run.append(before)
        readers = [trace.layers[reader] for reader in read_by[end]]
        norms = [reader for reader in readers if reader.kind == "norm"]
        summed = any(reader.op == "add" for reader in readers)
        layers = tuple(trace.layers[i] for i in reversed(run))
        found.append(Segment(layers, norms[0] if norms else None, summed, any(layer is read_out for layer in layers)))
    return tuple(found)


def _opening(trace: Trace) -> frozenset[int]:
    """The layers that residual branches and projections begin with: what comes before goes on beside them."""
    return frozenset(
        position
        for block in trace.residuals
        for position in (*block.branch, *block.skip)
        if trace.layers[position].inputs == (block.fork,)
    )


def _previous(trace: Trace, position: int, opening: frozenset[int]) -> int | None:
    inputs = trace.layers[position].inputs
    if position in opening:
        return None
    if len(inputs) != 1 or "matmul" in trace.layers[position].via or "mul" in trace.layers[position].via:
        return None
    return inputs[0] if _plain(trace.layers[inputs[0]]) else None


def _continues(trace: Trace, position: int, reader: int, opening: frozenset[int]) -> bool:
    return _plain(trace.layers[reader]) and _previous(trace, reader, opening) == position


def main_path(trace: Trace) -> tuple[LayerRecord, ...]:
    """The longest way back from the loss to the input, by the layers that ran last, in order of execution."""
    return _way_back(trace, max)


def stream(trace: Trace) -> tuple[LayerRecord, ...]:
    """The shortest way back from the loss to the input: along the skips of a residual network, past its branches.

    A branch may be scaled to nothing on purpose, and with it the gradient in it; the stream must carry it.
    """
    return _way_back(trace, min)


def _way_back(trace: Trace, choose: Callable[[Iterable[int]], int]) -> tuple[LayerRecord, ...]:
    position = trace.loss_record.input if trace.loss_record is not None else None
    if position is None:
        position = len(trace.layers) - 1 if trace.layers else None
    path: list[LayerRecord] = []
    while position is not None:
        path.append(trace.layers[position])
        before = [i for i in path[-1].inputs if i < position]
        # A sum that reads one layer has the network's input for its other term: there the stream begins.
        begins = choose is min and path[-1].op == "add" and len(before) == 1
        position = choose(before) if before and not begins else None
    return tuple(reversed(path))


def shut(trace: Trace, layer: LayerRecord) -> bool:
    """Whether all that is made of a layer passes a norm whose scale is zero: its branch starts closed, and opens."""
    read_by = consumers(trace.layers)
    queue, seen = [next(i for i, other in enumerate(trace.layers) if other is layer)], set[int]()
    while queue:
        position = queue.pop()
        if position in seen:
            continue
        seen.add(position)
        here = trace.layers[position]
        if here.norm is not None and here.norm.scale_rms == 0:
            continue
        if not read_by[position]:
            return False
        queue.extend(read_by[position])
    return True


def gradient_levels(trace: Trace) -> tuple[tuple[LayerRecord, float], ...]:
    """Hidden maps and sums on the stream with ‖∂L/∂h‖ of a sample at their output; empty without gradients.

    Without the read-out: one that is small or zero on purpose lowers all of them alike, and only until it moves.
    From where parameters are joined to the signal, such as a class token: of what is joined, the loss may read that
    token alone, and the rest reaches it through branches only, which may start all but closed.
    """
    layers = stream(trace)
    joined = [position for position, layer in enumerate(layers) if layer.op == "cat" and layer.parameters]
    layers = layers[joined[-1] + 1 :] if joined else layers
    levels = [layer for layer in layers if layer.kind in MAPS or layer.op == "add"]
    if levels and levels[-1].kind in MAPS:
        levels.pop()
    return tuple((layer, layer.sample_grad_norm) for layer in levels if layer.sample_grad_norm is not None)


def settled_levels(trace: Trace) -> tuple[tuple[LayerRecord, float], ...]:
    """`gradient_levels`, of a map with a norm right behind it at the norm's output.

    Before the norm the gradient is the smaller the larger the map's output is, and moves its weights no less for it.
    """
    layers = stream(trace)
    behind = {id(layer): after for layer, after in itertools.pairwise(layers) if after.kind == "norm"}
    levels = ((behind.get(id(layer), layer), norm) for layer, norm in gradient_levels(trace))
    found = ((layer, layer.sample_grad_norm if layer.kind == "norm" else norm) for layer, norm in levels)
    return tuple((layer, norm) for layer, norm in found if norm is not None)


def gradient_change(trace: Trace) -> float | None:
    """log10 of a sample's gradient norm at the first map over that at the last; None with fewer than two."""
    levels = gradient_levels(trace)
    if len(levels) < 2 or levels[-1][1] == 0:
        return None
    first, last = levels[0][1], levels[-1][1]
    return -math.inf if first == 0 else math.log10(first / last)
