"""The dispatch mode that sees every operation of a forward pass and drafts the records.

It reduces statistics as the tensors pass and keeps none of them. An output's gradient hook is set just before
the next operation runs: only then has autograd given the tensor its history.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch._ops import OpOverload
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from gainstage.errors import SubjectError
from gainstage.trace import norms, ops, targets
from gainstage.trace.drafting import Call, Drafting
from gainstage.trace.names import ModuleStack
from gainstage.trace.ops import OpFacts
from gainstage.trace.preserve import WriteGuard
from gainstage.trace.provenance import NOTHING, Origin, Provenance, merged
from gainstage.trace.records import LossPart, NonFiniteRecord
from gainstage.trace.reshapes import OPERATIONS, SKEWS, Reshapes
from gainstage.trace.target_records import CrossingRecord, LabelRecord


class RecordingMode(TorchDispatchMode):
    """Drafts a record for each layer's work in each call.

    Args:
        stack: Knows which module is running.
        provenance: Knows where tensors come from.
        guard: Is told of every write to a tensor.
        batch_size: Of the batch, None if unknown.
        careful: Leave non-finite values out of the figures, and find the operation that produced the first.
        backward: Whether gradients will be asked for.
        measuring: Reduce figures; else only what ran is noted.
    """

    def __init__(
        self, stack: ModuleStack, provenance: Provenance, guard: WriteGuard, batch_size: int | None,
        *, careful: bool, backward: bool, measuring: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.stack, self.provenance, self.guard, self.careful = stack, provenance, guard, careful
        matrices = provenance.matrices
        self.drafting = Drafting(
            stack, provenance, matrices, batch_size, careful=careful, backward=backward, measuring=measuring
        )
        self.drafts = self.drafting.drafts
        self.loss_ops: list[str] = []
        self.loss_origin: Origin | None = None
        self.loss_parts: list[LossPart] = []
        self.loss_squashes_sum = False
        self.labels: LabelRecord | None = None
        self.crossing: CrossingRecord | None = None
        self.used: set[str] = set()
        # With the parameters themselves, which keeps them alive and their identities theirs.
        self.unregistered: dict[int, tuple[torch.Tensor, str]] = {}
        self.reshapes = Reshapes()
        self.first_non_finite: NonFiniteRecord | None = None
        self.watcher: Callable[[Call, torch.Tensor, Origin], None] | None = None
        self.in_backward = False
        self.flat_derivatives = 0
        self.accumulated = False
        self.last: tuple[str, str, tuple[tuple[int, ...], ...]] = ("", "", ())

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Nothing compiles while a recording runs; torch need not guard each operation against it.
        return False

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs the operation and looks at it."""
        kwargs = kwargs or {}
        facts = ops.facts_of(func)
        self.drafting.hook_awaiting()
        if facts.view:
            return self._viewed(func, facts, args, kwargs)
        read = ops.signal_tensors((*args, *kwargs.values()) if kwargs else args)
        for argument in facts.written:
            for tensor in ops.signal_tensors([args[argument] if isinstance(argument, int) else kwargs.get(argument)]):
                self.guard.before_write(tensor)
        looking = self.careful and self.first_non_finite is None and not _any_nan(read)
        if self.in_backward:
            results = func(*args, **kwargs)
        else:
            self.last = (facts.spec.name, self.stack.path, tuple([tensor.shape for tensor in read]))
            if facts.name in targets.LOOKED_AT:
                self._look_at_targets(facts, args, kwargs)
            # The model's or the loss's own derivative; zeros come to it behind another such activation alone.
            if func.overloadpacket.__name__ in _FLAT and read and not bool(read[0].any()):
                self.flat_derivatives += 1
            before = norms.running_statistics(func, args, kwargs) if facts.spec.role == "norm" else None
            results = func(*args, **kwargs)
            origins = [self.provenance.of(tensor) for tensor in read]
            self._observe(Call(func, facts, args, kwargs, results, read, origins, before))
        if looking:
            self._look_for_non_finite(func, read, results)
        return results

    def _viewed(self, func: OpOverload, facts: OpFacts, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """A view shares its argument's storage, and with it the origin: there is nothing to note but its shape."""
        try:
            results = func(*args, **kwargs)
        except Exception:
            self.last = (facts.spec.name, self.stack.path, tuple([t.shape for t in ops.signal_tensors(args)]))
            raise
        if isinstance(results, torch.Tensor) and not self.in_backward and self.stack.inside:
            origin = self.provenance.of(results)
            if not (origin.data or origin.parameters):
                self._note_unregistered(ops.signal_tensors(args))
            elif results.ndim >= 3:
                self.drafting.follow_reshape(results, origin)
            if origin.data and facts.name in OPERATIONS and self.last[0] not in SKEWS:
                self.reshapes.note(self.stack.path, args[0].shape, results.shape)
        elif self._of_outputs(facts.name, results):
            self.reshapes.note_in_loss(args[0].shape, results.shape)
        return results

    def _of_outputs(self, name: str, results: Any) -> bool:
        """Whether the loss reshapes what the model computed."""
        in_loss = self.stack.entered and not self.stack.inside and not self.in_backward and name in OPERATIONS
        return in_loss and isinstance(results, torch.Tensor) and bool(self.provenance.of(results).layers)

    def _observe(self, call: Call) -> None:
        produced, numbers = ops.signal_tensors(call.results), _whole_numbers(call.results)
        if numbers:
            counted = self._of_whole_numbers(call) if self.stack.inside and not call.read else NOTHING
            # Of numbers made of signals, as an argmax, nothing is left; and what had their storage before is forgotten.
            self._assign(numbers, counted)
        if call.spec.role == "random" or call.facts.name == "bernoulli_":
            return self._assign(produced, Origin(noise=True))
        if call.spec.role == "fresh":
            return self._assign(produced, NOTHING)
        if self.stack.inside:
            self._note_unregistered(call.read)
            if not call.read and (counted := self._of_whole_numbers(call)).data:
                return self._assign(produced, counted)
        data = any(origin.data for origin in call.origins)
        if data and call.facts.name in OPERATIONS and self.stack.inside:
            self.reshapes.note(self.stack.path, call.read[0].shape, produced[0].shape)
        elif data and self._of_outputs(call.facts.name, produced[0] if produced else None):
            self.reshapes.note_in_loss(call.read[0].shape, produced[0].shape)
        if data:
            self.used.update(name for origin in call.origins for name in origin.parameters)
        if data and self.stack.entered and not self.stack.inside:
            self._observe_loss(call)
        elif data and call.spec.role == "loss":
            self._observe_inner_loss(call)
        elif produced and (data or call.spec.role in ("map", "lookup")):
            origin = self.drafting.observe(call, produced[0])
            if origin is not None:
                if self.watcher is not None:
                    self.watcher(call, produced[0], origin)
                return self._assign(produced, origin)
        return self._assign(produced, _passed_on(call))

    def _of_whole_numbers(self, call: Call) -> Origin:
        """The origin of what is made of a batch's whole numbers alone: bytes of pictures, ids taken for quantities.

        Masks are none: what comes of a comparison selects, and is no signal.
        """
        read = _whole_numbers((call.args, tuple(call.kwargs.values())))
        origins = [origin for origin in map(self.provenance.of, read) if origin.data]
        return merged(origins, None if call.spec.role in ("view", "lookup") else call.spec.name) if origins else NOTHING

    def _note_unregistered(self, read: list[torch.Tensor]) -> None:
        """Parameters that are not the model's: kept in a list, say, or made while it runs."""
        for tensor in read:
            if isinstance(tensor, torch.nn.Parameter) and tensor.requires_grad and torch.is_grad_enabled():
                origin = self.provenance.of(tensor)
                if not (origin.data or origin.parameters):
                    self.unregistered.setdefault(id(tensor), (tensor, self.stack.path))

    def _look_at_targets(self, facts: OpFacts, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if facts.spec.role != "loss" and (self.stack.inside or not self.stack.entered):
            return  # a difference inside the model compares what it likes
        if self.labels is None:
            self.labels = targets.label_record(facts.name, args, kwargs, self.drafting.batch_size, self.provenance)
            if self.labels is not None and self.labels.improper:
                raise SubjectError(
                    f"record: binary cross-entropy takes probabilities, got {self.labels.improper} outputs beyond 0 "
                    "and 1. Use BCEWithLogitsLoss, which applies the sigmoid itself."
                )
            if self.labels is not None and self.labels.outside:
                # On an accelerator the operation would take the whole process down with it.
                raise SubjectError(
                    f"record: labels must be 0 to {(self.labels.classes or 0) - 1}, the model having "
                    f"{self.labels.classes} outputs, got {self.labels.low:.0f} to {self.labels.high:.0f} "
                    f"({self.labels.outside} outside). Renumber them, or give the model more outputs."
                )
        crossing = targets.crossing_record(facts.name, args, self.provenance)
        if crossing is not None and (self.crossing is None or (crossing.mutual and not self.crossing.mutual)):
            self.crossing = crossing

    def _assign(self, tensors: list[torch.Tensor], origin: Origin) -> None:
        for tensor in tensors:
            self.provenance.assign(tensor, origin)

    def _observe_loss(self, call: Call) -> None:
        if call.spec.role in ("view", "lookup"):
            return
        origin = next((origin for origin in call.origins if origin.layers), None)
        if call.facts.name in _SIGMOIDS and origin is not None and call.read[0].ndim == 0 and "sum" in self.loss_ops:
            self.loss_squashes_sum = True
        self.loss_ops.append(ops.loss_name(call.func))
        self.loss_origin = self.loss_origin or origin
        if origin is not None and ops.is_loss(call.func):
            self.loss_parts.append(LossPart(self.loss_ops[-1], origin.layers[-1], origin.via))

    def _observe_inner_loss(self, call: Call) -> None:
        """A loss that the model computes itself: its log-softmax, if it has one, belongs to the loss."""
        origin = next((origin for origin in call.origins if origin.layers), None)
        if origin is None:
            return
        last = self.drafts[origin.layers[-1]]
        if last.op == "log_softmax":
            self.loss_ops.append("log_softmax")
            origin = Origin(data=True, layers=last.inputs, via=last.via)
        self.loss_ops.append(ops.loss_name(call.func))
        self.loss_origin = self.loss_origin or origin

    def _look_for_non_finite(self, func: OpOverload, read: list[torch.Tensor], results: Any) -> None:
        """Notes the operation if it made something non-finite of finite inputs, or NaN of a mask's infinities."""
        name = func.overloadpacket.__name__
        if name.startswith(_UNCOMPUTED):
            return
        finite = _all_finite(read)
        for tensor in ops.signal_tensors(results):
            bad = ~torch.isfinite(tensor) if finite else torch.isnan(tensor)
            if bool(bad.any()):
                phase = "backward" if self.in_backward else "forward" if self.stack.inside else "loss"
                kind = "nan" if bool(torch.isnan(tensor).any()) else "inf"
                largest = max((float(t.detach().abs().max()) for t in read if t.numel()), default=None)
                self.first_non_finite = NonFiniteRecord(
                    ops.spec_of(func).name, self.stack.path, phase, kind, int(bad.sum()), str(tensor.dtype)[6:],
                    largest if finite else None, masked=not finite,
                )  # fmt: skip
                return


# Derivatives of activations that are straight but for a corner: those have none themselves.
_SIGMOIDS = frozenset(("log_sigmoid_forward", "sigmoid", "softplus"))
_FLAT = frozenset(("threshold_backward", "leaky_relu_backward", "hardtanh_backward"))
# Uninitialized memory holds anything, and an attention mask is filled with -inf on purpose.
_UNCOMPUTED = ("empty", "new_empty", "full", "fill_", "masked_fill", "where")


def _whole_numbers(values: Any) -> list[torch.Tensor]:
    """The tensors of whole numbers in an operation's arguments or results; none of truth values."""
    if isinstance(values, torch.Tensor):
        return [values] if _is_whole(values) else []
    leaves = pytree.tree_leaves(values) if isinstance(values, (tuple, list)) else []
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and _is_whole(leaf)]


def _is_whole(tensor: torch.Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype is torch.bool)


def _any_nan(tensors: list[torch.Tensor]) -> bool:
    return any(bool(torch.isnan(tensor).any()) for tensor in tensors)


def _all_finite(tensors: list[torch.Tensor]) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)


def _passed_on(call: Call) -> Origin:
    """The origin of what an operation without a record makes of its inputs."""
    origins = call.origins
    if call.facts.name in ("copy_", "fill_", "zero_") and call.read:
        # A whole overwrite forgets what stood there; writing into a slice adds to it.
        target = call.read[0]
        whole = target.numel() * target.element_size() == target.untyped_storage().nbytes()
        origins = origins[1:] if whole else origins
    if call.spec.role in ("view", "lookup"):
        return merged(origins)
    if call.spec.role == "map":
        return merged(origins, "matmul")
    dropout = call.spec.role == "mul" and any(origin.noise for origin in origins)
    return merged(origins, "dropout" if dropout else call.spec.name)
