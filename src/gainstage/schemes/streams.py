"""The residual streams of a network: which blocks add up, and what stands in their branches."""

from __future__ import annotations

from dataclasses import dataclass

from gainstage.schemes.index import index
from gainstage.trace.graph import Residual
from gainstage.trace.records import Trace

MAPS = ("linear", "conv")


@dataclass(frozen=True)
class Stream:
    """Residual blocks of which one begins where the one before ends.

    Attributes:
        blocks: In order of execution.
        layers: Number of layers as papers on transformers count them: of branches with attention, in a decoder of
            those with attention to another stream; of blocks where there is no attention.
        is_decoder: Whether a branch reads another stream too: cross-attention.
        scoring: Positions of the maps that make queries and keys.
    """

    blocks: tuple[Residual, ...]
    layers: int
    is_decoder: bool
    scoring: frozenset[int]


def streams(trace: Trace, *, through_norms: bool = False) -> tuple[Stream, ...]:
    """The residual streams, in order of their first block.

    Args:
        trace: Of one pass of the model.
        through_norms: Whether a stream goes on behind a norm of the sum (post-norm); its sums do not add up there.
    """
    found: list[list[Residual]] = []
    ends: dict[int, list[Residual]] = {}
    for block in trace.residuals:
        chain = ends.pop(_end(trace, block.fork, through_norms=through_norms), None)
        if chain is None:
            chain = []
            found.append(chain)
        chain.append(block)
        ends[block.sum] = chain
    return tuple(_stream(trace, chain) for chain in found)


def _end(trace: Trace, fork: int | None, *, through_norms: bool) -> int:
    """The sum that a block's input comes from: itself, or through an activation (and a norm)."""
    if fork is None:
        return -1
    passed = ("activation", "norm") if through_norms else ("activation",)
    layer = trace.layers[fork]
    through = layer.kind in passed and len(layer.inputs) == 1 and trace.layers[layer.inputs[0]].op == "add"
    return layer.inputs[0] if through else fork


def _stream(trace: Trace, blocks: list[Residual]) -> Stream:
    attending = [block for block in blocks if any(trace.layers[at].kind == "attention" for at in block.branch)]
    crossing = [block for block in attending if _reads_beyond(trace, block)]
    counted = crossing or attending or blocks
    scoring = frozenset(position for block in attending for position in _scoring(trace, block))
    return Stream(tuple(blocks), len(counted), bool(crossing), scoring)


def _reads_beyond(trace: Trace, block: Residual) -> bool:
    """Whether an attention of the branch reads keys or values that the fork has no part in.

    A table of positions that is added to the scores is none of them, nor is what conditions the stream itself.
    """
    attending = [position for position in block.branch if trace.layers[position].kind == "attention"]
    read = {source for position in attending for source in trace.layers[position].inputs}
    return any(
        trace.layers[source].kind not in ("embedding", "activation") and not _from_fork(trace, block, source)
        for source in read
    )


def _from_fork(trace: Trace, block: Residual, position: int) -> bool:
    """Whether a layer reads the block's input, directly or through the branch."""
    own = set(block.branch)
    if block.fork is None:
        return position in own
    waiting, seen = [position], set[int]()
    while waiting:
        current = waiting.pop()
        if current == block.fork:
            return True
        if current in own and current not in seen:
            seen.add(current)
            waiting += trace.layers[current].inputs
    return False


def _scoring(trace: Trace, block: Residual) -> list[int]:
    """The maps of a branch whose output is used for nothing but an attention's weights: all but its last input's."""
    read_by = index(trace).read_by
    found: list[int] = []
    for position in maps_of(trace, block):
        readers = [trace.layers[reader] for reader in read_by[position]]
        uses = [reader.kind == "attention" and position in _scored(reader.op, reader.inputs) for reader in readers]
        if uses and all(uses):
            found.append(position)
    return found


def _scored(op: str, inputs: tuple[int, ...]) -> tuple[int, ...]:
    """Queries and keys among an attention's inputs; a softmax of products reads nothing else."""
    return inputs if op == "softmax" else inputs[:-1]


def maps_of(trace: Trace, block: Residual) -> list[int]:
    """Positions of the linear and convolutional layers of a block's branch, in order of execution."""
    return [position for position in block.branch if trace.layers[position].kind in MAPS]


def serial_maps(trace: Trace, block: Residual) -> list[int]:
    """The maps of a branch up to the one that ends it: what gates that one's output (squeeze-excitation) is not among.

    The last is what makes the branch zero if it is: nothing but norms and products stand between it and the sum.
    """
    maps, own = maps_of(trace, block), set(block.branch)
    waiting, ends = list(trace.layers[block.sum].inputs), set[int]()
    for position in waiting:
        layer = trace.layers[position]
        if position not in own:
            continue
        if layer.kind in MAPS:
            ends.add(position)
        elif layer.kind not in ("activation", "attention"):
            waiting += [source for source in layer.inputs if source not in waiting]
    return maps[: maps.index(max(ends)) + 1] if ends else maps


def read_out(trace: Trace) -> tuple[int, ...]:
    """The position of the last map, if the loss or, without one, the output reads it; else empty."""
    position = None if trace.loss_record is None else trace.loss_record.input
    if position is None:
        position = len(trace.layers) - 1
    return (position,) if trace.layers and trace.layers[position].kind in MAPS else ()
