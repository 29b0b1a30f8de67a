"""Who reads whose output, exactly: what must be known before a module is changed that nobody else may notice.

A `Trace` says which layer follows which. Here chosen modules are units, every other operation is a node of its own,
and a tensor is known by its memory: views are what they are views of, a write in place makes a new value.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch._ops import OpOverload
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from gainstage.errors import GainstageError, SubjectError
from gainstage.trace import call, ops
from gainstage.trace.names import ModuleStack
from gainstage.trace.preserve import WriteGuard, storage_key
from gainstage.trace.running import AnyForward, returned, set_mode, undisturbed


@dataclass(frozen=True)
class View:
    """A value as a node reads or returns it: its number, and how the tensor lies in the value's memory."""

    value: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    @property
    def count(self) -> int:
        """Number of elements."""
        return torch.Size(self.shape).numel()

    @property
    def dense(self) -> bool:
        """Whether the elements fill a stretch of memory without gaps or overlaps."""
        expected = 1
        for size, stride in sorted(zip(self.shape, self.stride, strict=True), key=lambda pair: pair[::-1]):
            if size > 1:
                if stride != expected:
                    return False
                expected *= size
        return True

    def same_channels(self, dim: int, other: View, other_dim: int) -> bool:
        """Whether both see all of one value, and each element's index along these dimensions is the same.

        In dense memory the index is (place // stride) mod size, whatever the other dimensions are.
        """
        ours = (self.value, self.offset, self.count, self.shape[dim], self._step(dim))
        theirs = (other.value, other.offset, other.count, other.shape[other_dim], other._step(other_dim))
        return ours == theirs and self.dense and other.dense

    def _step(self, dim: int) -> int:
        return self.stride[dim] if self.shape[dim] > 1 else 0


@dataclass(frozen=True)
class Node:
    """A call of a unit, or an operation outside of units.

    Attributes:
        path: Of the unit; of the innermost module that was running for an operation.
        op: The operation, "" for a unit.
        reads: The values that it reads; a unit's arguments first.
        returns: The values that it returns.
    """

    path: str
    op: str
    reads: tuple[View, ...]
    returns: tuple[View, ...]

    def __str__(self) -> str:
        return self.path or "(root)" if not self.op else f"{self.op} in {self.path or '(root)'}"


@dataclass(frozen=True)
class Wiring:
    """One forward pass.

    Attributes:
        nodes: In order of execution.
        visible: Values that the model returns, or that something still holds after the pass.
        outputs: What the model returned.
    """

    nodes: tuple[Node, ...]
    visible: frozenset[int]
    outputs: Any = field(repr=False, compare=False)

    @cached_property
    def _readers(self) -> Mapping[int, tuple[int, ...]]:
        found: dict[int, list[int]] = {}
        for position, node in enumerate(self.nodes):
            for value in dict.fromkeys(view.value for view in node.reads):
                found.setdefault(value, []).append(position)
        return {value: tuple(positions) for value, positions in found.items()}

    @cached_property
    def _producers(self) -> Mapping[int, int]:
        return {view.value: position for position, node in enumerate(self.nodes) for view in node.returns}

    @cached_property
    def _calls(self) -> Mapping[str, tuple[Node, ...]]:
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            if not node.op:
                found.setdefault(node.path, []).append(node)
        return {path: tuple(nodes) for path, nodes in found.items()}

    def calls(self, path: str) -> tuple[Node, ...]:
        """The calls of a unit, in order."""
        return self._calls.get(path, ())

    def readers(self, value: int) -> tuple[Node, ...]:
        """The nodes that read a value."""
        return tuple(self.nodes[position] for position in self._readers.get(value, ()))

    def producer(self, value: int) -> Node | None:
        """The node that returned a value; None for the batch."""
        position = self._producers.get(value)
        return None if position is None else self.nodes[position]


def wiring(
    model: nn.Module, batch: Any, units: Callable[[nn.Module], bool], *, forward: AnyForward | None = None,
    training: bool | None = False, seed: int = 0,
) -> Wiring:  # fmt: skip
    """Runs the model once on the batch and returns who read what; the model is left as it was.

    Args:
        model: Any module.
        batch: One batch, as in `Subject`.
        units: Which modules are units; what runs inside of one is the unit's own matter.
        forward: ``(model, batch) -> outputs``, as in `Subject`.
        training: The mode of all modules; None: as they are.
        seed: Of the random generators during the pass.

    Raises:
        SubjectError: if the batch does not fit the model.
    """
    # A model that differentiates something on its way needs gradients, which keep many values alive.
    with suppress(Exception):
        return _wired(model, batch, units, forward, training=training, seed=seed, gradients=False)
    try:
        return _wired(model, batch, units, forward, training=training, seed=seed, gradients=True)
    except GainstageError:
        raise
    except Exception as error:
        detail = " ".join(str(error).split())
        raise SubjectError(
            f"wiring: the model must accept the batch, got {type(error).__name__}: {detail}. "
            "Check that the model runs on it in eval mode; else pass forward= (model, batch)."
        ) from error


def _wired(
    model: nn.Module, batch: Any, units: Callable[[nn.Module], bool], forward: AnyForward | None, *,
    training: bool | None, seed: int, gradients: bool,
) -> Wiring:  # fmt: skip
    batch = call.aliased(call.plain(call.to_device(batch, model)))
    held = [tensor for _, tensor in call.tensors_of(batch)]
    guard = WriteGuard([*model.parameters(), *held])
    with undisturbed(model, seed=seed, gradients=gradients):
        modules = dict(model.named_modules())
        if training is not None:
            set_mode(modules.values(), training=training)
        ledger = _Ledger(held)
        stack = _UnitStack(modules, units, ledger)
        try:
            with stack.following(), _WiringMode(stack, ledger, guard):
                outputs = returned(model, batch, forward)
        finally:
            guard.restore()
        return Wiring(tuple(ledger.nodes), ledger.visible(outputs), outputs)


class _Ledger:
    """Which value stands in which memory, and what has happened so far."""

    def __init__(self, held: list[torch.Tensor]) -> None:
        self.nodes: list[Node] = []
        self._values: dict[int, int] = {}
        self._weak: dict[int, tuple[int, StorageWeakRef]] = {}
        self.count = 0
        for tensor in held:
            self.assigned(tensor)

    def view(self, tensor: torch.Tensor) -> View | None:
        """The tensor as a view of its value; None if no operation made it: a parameter, a constant."""
        key = storage_key(tensor)
        value = None if key is None else self._values.get(key)
        if value is None:
            return None
        return View(value, tuple(tensor.shape), tuple(tensor.stride()), int(tensor.storage_offset()))

    def assigned(self, tensor: torch.Tensor) -> View | None:
        """The tensor as a new value."""
        key = storage_key(tensor)
        if key is None:
            return None
        self._values[key] = self.count
        self.count += 1
        return self.view(tensor)

    def remember(self, tensor: torch.Tensor, view: View) -> None:
        """Notes a value whose survival is of interest."""
        key = storage_key(tensor)
        if key is not None:
            self._weak[view.value] = (key, StorageWeakRef(tensor.untyped_storage()))

    def visible(self, outputs: Any) -> frozenset[int]:
        views = [self.view(tensor) for _, tensor in call.tensors_of(outputs)]
        returned_values = {view.value for view in views if view is not None}
        if self._survivors() - returned_values:
            gc.collect()  # cycles among the model's own objects are nobody who reads
        return frozenset(returned_values | self._survivors())

    def _survivors(self) -> set[int]:
        return {value for value, (key, weak) in self._weak.items()
                if not weak.expired() and self._values.get(key) == value}  # fmt: skip


class _UnitStack(ModuleStack):
    """Turns the calls of units into nodes."""

    def __init__(self, modules: Mapping[str, nn.Module], units: Callable[[nn.Module], bool], ledger: _Ledger) -> None:
        super().__init__(modules)
        self._units = {id(module) for module in modules.values() if units(module)}
        self._ledger = ledger
        self._open: tuple[nn.Module, int] | None = None
        self._reads: dict[int, View] = {}

    @property
    def open(self) -> bool:
        """Whether a unit is running."""
        return self._open is not None

    def note(self, tensors: list[torch.Tensor]) -> None:
        """Notes what an operation inside the unit reads from outside."""
        assert self._open is not None
        for tensor in tensors:
            view = self._ledger.view(tensor)
            if view is not None and view.value < self._open[1]:
                self._reads.setdefault(view.value, view)

    def _enter(self, module: nn.Module, _inputs: Any) -> None:
        super()._enter(module, _inputs)
        if self._open is None and id(module) in self._units and self.module is module:
            self._open, self._reads = (module, self._ledger.count), {}
            self.note([tensor for _, tensor in call.tensors_of(_inputs)])

    def _leave(self, module: nn.Module, _inputs: Any, _outputs: Any) -> None:
        if self._open is not None and self._open[0] is module and self.module is module:
            self._open, path = None, self.path
            tensors = [tensor for _, tensor in call.tensors_of(_outputs)]
            returns: list[View] = []
            for tensor in tensors:
                view = self._ledger.assigned(tensor)
                if view is not None:
                    returns.append(view)
                    self._ledger.remember(tensor, view)
            self._ledger.nodes.append(Node(path, "", tuple(self._reads.values()), tuple(returns)))
        super()._leave(module, _inputs, _outputs)
        if self._open is not None and not any(running is self._open[0] for _, running in self._running):
            self._open = None  # an exception that the model caught itself ended the unit


class _WiringMode(TorchDispatchMode):
    def __init__(self, stack: _UnitStack, ledger: _Ledger, guard: WriteGuard) -> None:
        super().__init__()
        self._stack, self._ledger, self._guard = stack, ledger, guard

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs the operation and notes what it read and made."""
        kwargs = kwargs or {}
        facts = ops.facts_of(func)
        if facts.view:
            return func(*args, **kwargs)
        read = ops.signal_tensors((*args, *kwargs.values()))
        for argument in facts.written:
            for tensor in ops.signal_tensors([args[argument] if isinstance(argument, int) else kwargs.get(argument)]):
                self._guard.before_write(tensor)
        if self._stack.open:
            self._stack.note(read)
        reads = tuple(view for view in map(self._ledger.view, read) if view is not None)
        results = func(*args, **kwargs)
        made = [view for view in map(self._ledger.assigned, ops.signal_tensors(results)) if view is not None]
        if not self._stack.open:
            self._ledger.nodes.append(Node(self._stack.path, facts.spec.name, reads, tuple(made)))
        return results
