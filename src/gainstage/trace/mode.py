"""The dispatch mode that sees every operation of a forward pass and drafts the records.

It reduces statistics as the tensors pass and keeps none of them. An output's gradient hook is set just before
the next operation runs: only then has autograd given the tensor its history.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from gainstage.trace import maps, norms, ops, reductions
from gainstage.trace.draft import Draft
from gainstage.trace.names import ModuleStack
from gainstage.trace.ops import OpSpec
from gainstage.trace.preserve import WriteGuard
from gainstage.trace.provenance import Origin, Provenance, merged
from gainstage.trace.records import LayerKind, NonFiniteRecord

# A cell called for every pixel of a sequence would fill the trace; its later calls pass through unrecorded.
MAX_CALLS = 16


@dataclass(frozen=True)
class Call:
    """One operation as it ran.

    Attributes:
        read, origins: Its signal tensors among the arguments, and where each comes from.
        before: A batch norm's running statistics from before the call.
    """

    func: OpOverload
    spec: OpSpec
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    results: Any
    read: list[torch.Tensor]
    origins: list[Origin]
    before: norms.Running | None

    @property
    def name(self) -> str:
        """Of the aten operation, with the underscore of an in-place one."""
        return self.func.overloadpacket.__name__


class RecordingMode(TorchDispatchMode):
    """Drafts a record for each layer's work in each call.

    Args:
        stack: Knows which module is running.
        provenance: Knows where tensors come from.
        guard: Is told of every write to a tensor.
        batch_size: Of the batch, None if unknown.
        careful: Leave non-finite values out of the figures, and find the operation that produced the first.
        backward: Whether gradients will be asked for.
    """

    def __init__(
        self, stack: ModuleStack, provenance: Provenance, guard: WriteGuard, batch_size: int | None,
        *, careful: bool, backward: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.stack, self.provenance, self.guard, self.batch_size = stack, provenance, guard, batch_size
        self.careful, self.backward = careful, backward
        self.drafts: list[Draft] = []
        self.loss_ops: list[str] = []
        self.loss_origin: Origin | None = None
        self.used: set[str] = set()
        self.capped: set[str] = set()
        self.first_non_finite: NonFiniteRecord | None = None
        self.in_backward = False
        self.last: tuple[str, str, tuple[tuple[int, ...], ...]] = ("", "", ())
        self._awaiting: list[tuple[torch.Tensor, Draft]] = []

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs the operation and looks at it."""
        kwargs = kwargs or {}
        self.hook_awaiting()
        read = ops.signal_tensors((*args, *kwargs.values()))
        written = [args[w] if isinstance(w, int) else kwargs.get(w) for w in ops.written_arguments(func)]
        for tensor in ops.signal_tensors(written):
            self.guard.before_write(tensor)
        spec = ops.spec_of(func)
        looking = self.careful and self.first_non_finite is None and _all_finite(read)
        if self.in_backward:
            results = func(*args, **kwargs)
        else:
            self.last = (spec.name, self.stack.path, tuple(tuple(t.shape) for t in read))
            before = norms.running_statistics(func, args, kwargs) if spec.role == "norm" else None
            results = func(*args, **kwargs)
            origins = [self.provenance.of(tensor) for tensor in read]
            self._observe(Call(func, spec, args, kwargs, results, read, origins, before))
        if looking:
            self._look_for_non_finite(func, read, results)
        return results

    def hook_awaiting(self) -> None:
        """Sets the gradient hooks of the outputs that have their history by now."""
        for tensor, draft in self._awaiting:
            if self.backward and tensor.requires_grad:
                tensor.register_hook(draft.measure_gradient)
        self._awaiting.clear()

    def _observe(self, call: Call) -> None:
        produced = ops.signal_tensors(call.results)
        if call.spec.role == "random" or call.name == "bernoulli_":
            return self._assign(produced, Origin(noise=True))
        data = any(origin.data for origin in call.origins)
        if data:
            self.used.update(name for origin in call.origins for name in origin.parameters)
        if data and self.stack.entered and not self.stack.inside:
            self._observe_loss(call)
        elif data and call.spec.role == "loss":
            self._observe_inner_loss(call)
        elif produced and (data or call.spec.role == "map"):
            origin = self._observe_layer(call, produced[0])
            if origin is not None:
                return self._assign(produced, origin)
        return self._assign(produced, _passed_on(call))

    def _assign(self, tensors: list[torch.Tensor], origin: Origin) -> None:
        for tensor in tensors:
            self.provenance.assign(tensor, origin)

    def _observe_loss(self, call: Call) -> None:
        if call.spec.role == "view":
            return
        self.loss_ops.append(ops.loss_name(call.func))
        if self.loss_origin is None:
            self.loss_origin = next((origin for origin in call.origins if origin.layers), None)

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

    def _observe_layer(self, call: Call, output: torch.Tensor) -> Origin | None:
        """Drafts the record if the operation deserves one, and returns its output's origin; None otherwise."""
        role = call.spec.role
        if role == "map":
            return self._observe_map(call, output)
        if role == "norm":
            return self._observe_norm(call, output)
        if role in ("activation", "attention"):
            return self._observe_activation(call, output)
        if role in ("add", "mul"):
            return self._observe_combination(call, output)
        if role == "view":
            self._follow_reshape(output, call.origins)
        return None

    def _observe_map(self, call: Call, output: torch.Tensor) -> Origin | None:
        geometry = maps.geometry(call.spec, call.args, self.provenance.of)
        if geometry is None:
            return None
        signal = geometry.signal
        source = self.provenance.of(signal) if signal is not None else Origin(data=True)
        weight = geometry.parameters[0]
        draft = self._draft(
            maps.owner(weight), geometry.kind, geometry.op, maps.module_path(weight), call.spec, output,
            geometry.unit_dim, source,
        )  # fmt: skip
        if draft is None:
            return None
        draft.parameters, draft.fan_in, draft.fan_out = geometry.parameters, geometry.fan_in, geometry.fan_out
        draft.attributes = geometry.attributes
        if not geometry.plain:
            draft.weight_sums = reductions.moments(geometry.weight)
        draft.bias_sums = None if geometry.bias is None else reductions.moments(geometry.bias)
        if signal is not None:
            self._measure_input(draft, signal, source)
        return self._measured(draft, output)

    def _measure_input(self, draft: Draft, signal: torch.Tensor, source: Origin) -> None:
        """The rms of what a map reads: that of the layer before if it is the very same tensor, else measured."""
        if len(source.layers) == 1 and not source.via:
            before = self.drafts[source.layers[0]]
            count = 1
            for size in before.shape:
                count *= size
            if count == signal.numel():
                draft.input_from = before.position
                return
        if signal.is_floating_point() or signal.is_complex():
            draft.input_sums = reductions.moments(signal, None, careful=self.careful)

    def _observe_norm(self, call: Call, output: torch.Tensor) -> Origin | None:
        named = norms.named_arguments(call.func, call.args, call.kwargs)
        affine = [named[key] for key in ("weight", "bias") if isinstance(named.get(key), torch.Tensor)]
        parameters = tuple(name for tensor in affine for name in self.provenance.of(tensor).parameters)
        name = maps.owner(parameters[0]) if parameters else self.stack.operation_name(call.spec.name)
        module = maps.module_path(parameters[0]) if parameters else self.stack.path
        unit_dim = -1 if call.spec.name in ("layer_norm", "rms_norm") else 1
        source = self.provenance.of(named["input"])
        draft = self._draft(name, "norm", call.spec.name, module, call.spec, output, unit_dim, source)
        if draft is None:
            return None
        draft.parameters = parameters
        draft.norm = norms.facts(call.spec.name, named, self.stack.module, self.batch_size)
        draft.op = f"{draft.norm['type']}_norm"
        draft.norm_figures = norms.against_running(named, call.before)
        return self._measured(draft, output)

    def _observe_activation(self, call: Call, output: torch.Tensor) -> Origin | None:
        source = merged(call.origins)
        op, attributes = ops.described(call.spec, call.args, call.kwargs)
        kind: LayerKind = "attention" if op == "softmax" and "matmul" in source.via else call.spec.kind
        name, unit_dim = self.stack.operation_name(op), self._unit_dim(output, source)
        draft = self._draft(name, kind, op, self.stack.path, call.spec, output, unit_dim, source)
        if draft is None:
            return None
        draft.attributes = attributes
        draft.parameters = tuple(name for origin in call.origins if not origin.data for name in origin.parameters)
        return self._measured(draft, output)

    def _observe_combination(self, call: Call, output: torch.Tensor) -> Origin | None:
        """A bias is taken into its map; a sum of two signals, or with a parameter of two dimensions, is a layer."""
        if len(call.read) != 2:
            return None
        signals = [origin for origin in call.origins if origin.data]
        if len(signals) == 1:
            parameter, origin = next(pair for pair in zip(call.read, call.origins, strict=True) if not pair[1].data)
            return self._observe_parameter(call, parameter, origin, signals[0], output) if origin.parameters else None
        distinct = len({origin.layers for origin in signals}) > 1
        if call.spec.role != "add" or not distinct or call.read[0].shape != call.read[1].shape:
            return None
        source = merged(signals)
        draft = self._draft(
            f"{self.stack.path}:{call.spec.name}", "other", call.spec.name, self.stack.path, call.spec, output,
            self._unit_dim(output, source), source,
        )  # fmt: skip
        return None if draft is None else self._measured(draft, output)

    def _observe_parameter(
        self, call: Call, parameter: torch.Tensor, origin: Origin, signal: Origin, output: torch.Tensor
    ) -> Origin | None:
        """A signal plus or times a parameter."""
        if call.spec.role == "add" and self._absorb_bias(parameter, origin, signal, output):
            return signal
        if parameter.ndim < 2:
            return None
        name = origin.parameters[0]
        draft = self._draft(
            maps.owner(name), "other", call.spec.name, maps.module_path(name), call.spec, output,
            self._unit_dim(output, signal), signal,
        )  # fmt: skip
        if draft is None:
            return None
        draft.parameters = origin.parameters
        if not origin.plain:
            draft.weight_sums = reductions.moments(parameter)
        return self._measured(draft, output)

    def _absorb_bias(self, bias: torch.Tensor, origin: Origin, signal: Origin, output: torch.Tensor) -> bool:
        if len(signal.layers) != 1 or signal.via or sum(size > 1 for size in bias.shape) > 1:
            return False
        draft = self.drafts[signal.layers[0]]
        if draft.spec.role != "map" or draft.bias_sums is not None or draft.kind == "embedding":
            return False
        if maps.module_path(origin.parameters[0]) != draft.module:
            return False
        draft.parameters = (*draft.parameters, *origin.parameters)
        draft.bias_sums = reductions.moments(bias)
        draft.shape = tuple(output.shape)
        self._measured(draft, output)
        return True

    def _follow_reshape(self, output: torch.Tensor, origins: list[Origin]) -> None:
        """A map flattens its leading dimensions before it multiplies; users know the shape that it returns."""
        if len(origins) != 1 or len(origins[0].layers) != 1 or origins[0].via or output.ndim < 3:
            return
        draft = self.drafts[origins[0].layers[0]]
        if draft.position == len(self.drafts) - 1 and draft.kind == "linear" and len(draft.shape) == 2:
            same = output.shape[-1] == draft.shape[-1] and output.numel() == draft.shape[0] * draft.shape[1]
            draft.shape = tuple(output.shape) if same else draft.shape

    def _unit_dim(self, output: torch.Tensor, source: Origin) -> int:
        if output.ndim == 3 and source.layers:
            before = self.drafts[source.layers[-1]]
            return -1 if before.unit_dim == -1 else 1
        return 1 if output.ndim != 3 else -1

    def _draft(
        self, name: str, kind: LayerKind, op: str, module: str, spec: OpSpec, output: torch.Tensor,
        unit_dim: int | None, source: Origin,
    ) -> Draft | None:  # fmt: skip
        unique, count = self.stack.unique(name)
        if count > MAX_CALLS:
            self.capped.add(name)
            return None
        draft = Draft(
            name=unique, kind=kind, op=op, module=module, spec=spec, shape=tuple(output.shape), unit_dim=unit_dim,
            position=len(self.drafts), inputs=source.layers, via=source.via, careful=self.careful,
        )  # fmt: skip
        self.drafts.append(draft)
        return draft

    def _measured(self, draft: Draft, output: torch.Tensor) -> Origin:
        draft.measure(output, self.batch_size)
        self._awaiting = [(tensor, other) for tensor, other in self._awaiting if other is not draft]
        self._awaiting.append((output, draft))
        return Origin(data=True, layers=(draft.position,))

    def _look_for_non_finite(self, func: OpOverload, read: list[torch.Tensor], results: Any) -> None:
        """Notes the operation if it made something non-finite of finite inputs."""
        name = func.overloadpacket.__name__
        if name.startswith(_UNCOMPUTED):
            return
        for tensor in ops.signal_tensors(results):
            bad = ~torch.isfinite(tensor)
            if bool(bad.any()):
                phase = "backward" if self.in_backward else "forward" if self.stack.inside else "loss"
                kind = "nan" if bool(torch.isnan(tensor).any()) else "inf"
                largest = max((float(t.detach().abs().max()) for t in read if t.numel()), default=None)
                self.first_non_finite = NonFiniteRecord(
                    ops.spec_of(func).name, self.stack.path, phase, kind, int(bad.sum()), str(tensor.dtype)[6:], largest
                )
                return


# Uninitialized memory holds anything, and an attention mask is filled with -inf on purpose.
_UNCOMPUTED = ("empty", "new_empty", "full", "fill_", "masked_fill", "where")


def _all_finite(tensors: list[torch.Tensor]) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)


def _passed_on(call: Call) -> Origin:
    """The origin of what an operation without a record makes of its inputs."""
    origins = call.origins
    if call.name in ("copy_", "fill_", "zero_") and call.read:
        # A whole overwrite forgets what stood there; writing into a slice adds to it.
        target = call.read[0]
        whole = target.numel() * target.element_size() == target.untyped_storage().nbytes()
        origins = origins[1:] if whole else origins
    if call.spec.role == "view":
        return merged(origins)
    if call.spec.role == "map":
        return merged(origins, "matmul")
    dropout = call.spec.role == "mul" and any(origin.noise for origin in origins)
    return merged(origins, "dropout" if dropout else call.spec.name)
