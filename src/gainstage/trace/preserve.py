"""Leaving a model bit for bit as it was, whatever running it does to it.

Buffers are swapped for clones while the model runs, so the originals are never written to. Parameters and the
batch are copied only at the moment an operation is about to write to them (`WriteGuard`). Attributes of modules
that running re-binds or fills (caches, counters) are put back from shallow copies.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

_CONTAINERS = (dict, list, set)
_EMPTY: tuple[()] = ()
_POST_HOOKS = "_post_accumulate_grad_hooks"


class WriteGuard:
    """Copies a guarded tensor's storage before the first write to it, and writes it back afterwards."""

    def __init__(self, tensors: Iterable[torch.Tensor]) -> None:
        self._guarded: dict[int, torch.Tensor] = {}
        self._saved: dict[int, torch.Tensor] = {}
        for tensor in tensors:
            key = storage_key(tensor)
            if key is not None:
                self._guarded[key] = tensor

    def before_write(self, tensor: torch.Tensor) -> None:
        """To be called before an operation writes to ``tensor``."""
        key = storage_key(tensor)
        if key is None or key not in self._guarded or key in self._saved:
            return
        with torch.no_grad():
            self._saved[key] = _whole_storage(self._guarded[key]).clone()

    def restore(self) -> None:
        """Writes back what was saved."""
        with torch.no_grad():
            for key, saved in self._saved.items():
                _whole_storage(self._guarded[key]).copy_(saved)
        self._saved.clear()


def storage_key(tensor: torch.Tensor) -> int | None:
    """What identifies the memory that a tensor and all its views share; None where it has none."""
    try:
        return int(getattr(tensor.untyped_storage(), "_cdata"))  # noqa: B009 - private to torch, and the only identity
    except (NotImplementedError, RuntimeError):  # sparse tensors and wrapper subclasses have no storage
        return None


def _whole_storage(tensor: torch.Tensor) -> torch.Tensor:
    count = tensor.untyped_storage().nbytes() // tensor.element_size()
    return tensor.detach().as_strided((count,), (1,), 0)


@contextmanager
def preserved(modules: Sequence[nn.Module], *, buffers: bool = True) -> Generator[None]:
    """Restores modes, flags, buffers, hooks and attributes of every module on leaving, also after an exception.

    Args:
        modules: All of the model's.
        buffers: Put clones of the buffers in their place meanwhile; not needed if they are not written to.
    """
    attributes = [(module, _snapshot(vars(module))) for module in modules]
    parameters = [p for module in modules for p in (vars(module).get("_parameters") or {}).values() if p is not None]
    flags = [(parameter, parameter.requires_grad) for parameter in parameters]
    try:
        if buffers:
            _swap_buffers(modules)
        yield
    finally:
        for module, snapshot in attributes:
            _restore(vars(module), snapshot)
        for parameter, requires_grad in flags:
            if parameter.requires_grad is not requires_grad:
                parameter.requires_grad_(requires_grad)


def _swap_buffers(modules: Sequence[nn.Module]) -> None:
    clones: dict[int, torch.Tensor] = {}
    for module in modules:
        buffers = vars(module).get("_buffers") or {}
        for name, buffer in buffers.items():
            if buffer is not None:
                clones.setdefault(id(buffer), buffer.detach().clone())
                buffers[name] = clones[id(buffer)]


Snapshot = dict[str, tuple[Any, Any]]


def _snapshot(attributes: dict[str, Any]) -> Snapshot:
    """Each attribute with a copy of its contents where it is a plain container (``_buffers`` among them)."""
    # An empty one needs no copy of its own: most of a module's containers are.
    return {
        key: (value, (value.copy() if value else _EMPTY) if isinstance(value, _CONTAINERS) else None)
        for key, value in attributes.items()
    }


def _restore(attributes: dict[str, Any], snapshot: Snapshot) -> None:
    for key in [key for key in attributes if key not in snapshot]:
        del attributes[key]
    for key, (value, contents) in snapshot.items():
        attributes[key] = value
        if contents is None or not (contents or value):
            continue
        if contents is _EMPTY:
            value.clear()
        elif isinstance(value, list):
            value[:] = contents
        elif value != contents if isinstance(value, set) else not _same_entries(value, contents):
            value.clear()
            value.update(contents)


def _same_entries(left: dict[Any, Any], right: dict[Any, Any]) -> bool:
    return len(left) == len(right) and all(key in left and left[key] is item for key, item in right.items())


def has_reentrant_checkpoint(loss: torch.Tensor) -> bool:
    """Whether the loss's graph holds a node that `torch.autograd.grad` passes over or refuses."""
    return any("CheckpointFunction" in type(node).__name__ for node in _nodes(loss))


def leaves_of(loss: torch.Tensor) -> Iterator[torch.Tensor]:
    """The tensors in which the loss's graph ends."""
    return (node.variable for node in _nodes(loss) if hasattr(node, "variable"))


def _nodes(loss: torch.Tensor) -> Iterator[Any]:
    awaiting, seen = [loss.grad_fn], set[Any]()
    while awaiting:
        node = awaiting.pop()
        if node is None or node in seen:
            continue
        yield node
        seen.add(node)
        awaiting.extend(parent for parent, _ in node.next_functions)


def accumulated_gradients(loss: torch.Tensor, parameters: Mapping[str, nn.Parameter]) -> dict[str, torch.Tensor | None]:
    """The gradients by a plain backward pass, which re-entrant checkpoints insist on; ``.grad`` stays as it was.

    What hangs on the accumulation of a gradient (an optimizer that steps in the backward pass) is off meanwhile.
    """
    saved = {name: parameter.grad for name, parameter in parameters.items()}
    hooks = {name: getattr(p, _POST_HOOKS, None) for name, p in parameters.items()}
    try:
        for parameter in parameters.values():
            parameter.grad = None
            setattr(parameter, _POST_HOOKS, None)
        loss.backward()
        return {name: parameter.grad for name, parameter in parameters.items()}
    finally:
        for name, parameter in parameters.items():
            parameter.grad = saved[name]
            setattr(parameter, _POST_HOOKS, hooks[name])
