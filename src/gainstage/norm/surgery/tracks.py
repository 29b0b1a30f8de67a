"""Following a value through copies, and finding out that nobody else reads it."""

from __future__ import annotations

from collections.abc import Container, Iterable
from contextlib import suppress
from typing import Any

from torch import nn

from gainstage.errors import InputError
from gainstage.norm.surgery.records import Left
from gainstage.norm.surgery.sites import NormSite
from gainstage.trace.running import AnyForward, outputs_of, set_mode, undisturbed
from gainstage.trace.samples import sample_inputs
from gainstage.trace.wiring import Node, View, Wiring

# Why a norm without a module is left.
CALLED = "no module of its own; the forward calls it"
# Operations that copy values as they are, in the shape that they have.
_COPIES = ("clone", "contiguous")
MOST_COPIES = 8


def one_source(seen: Wiring, view: View) -> tuple[Node, View] | str:
    """The node whose output a view shows, and the view of that output; or why there is none.

    Copies of the same shape on the way are followed back: an index along a dimension stays what it is.
    """
    dims = view
    for _ in range(MOST_COPIES):
        node = seen.producer(dims.value)
        if node is None:
            return "it reads the model's input"
        if node.op not in _COPIES or len(node.reads) != 1 or not dims.same_channels(1, node.returns[0], 1):
            return node, dims
        if node.returns[0].shape != dims.shape:
            return node, dims
        dims = node.reads[0]
    return "it reads a copy of a copy"


def all_readers(seen: Wiring, value: int, reader: Node) -> str:
    """Who reads a value other than this node, directly or through copies; "" if nobody."""
    if value in seen.visible:
        return "whoever gets what the model returns or keeps"
    for node in seen.readers(value):
        if node is reader:
            continue
        if node.op not in _COPIES:
            return str(node)
        others = all_readers(seen, node.returns[0].value, reader)
        if others:
            return others
    return ""


def functional_norms(seen: Wiring, sites: Iterable[NormSite], ops: Container[str]) -> tuple[Left, ...]:
    """Norms that ran outside of every norm module: functions that a forward calls."""
    inside = tuple(site.path for site in sites)
    found = {
        (node.path, node.op.replace("_", " "))
        for node in seen.nodes
        if node.op in ops and not any(node.path == path or node.path.startswith(f"{path}.") for path in inside)
    }
    return tuple(Left(path, f"{op} as a function", CALLED) for path, op in sorted(found))


def sample_batch(operation: str, model: nn.Module, forward: AnyForward | None) -> Any:
    """A random batch that the model runs on in eval mode.

    Raises:
        InputError: if none of the guesses runs.
    """
    for inputs in sample_inputs(model):
        with suppress(Exception), undisturbed(model, seed=0):
            set_mode(model.modules(), training=False)
            outputs_of(model, inputs, forward)
            return inputs
    raise InputError(
        f"{operation}: a batch must be given for a model whose input cannot be guessed, got {type(model).__name__}. "
        "Pass one: inputs, (inputs, targets) or a dict."
    )
