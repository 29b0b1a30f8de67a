"""The dispatch mode that sees every operation of a forward pass and drafts the records.

It reduces statistics as the tensors pass and keeps none of them. An output's gradient hook is set just before
the next operation runs: only then has autograd given the tensor its history.
"""

from __future__ import annotations

from collections.abc import Mapping
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
        kwargs = kwargs or {}
        self.hook_awaiting()
        read = ops.signal_tensors((*args, *kwargs.values()))
        written = [args[w] if isinstance(w, int) else kwargs.get(w) for w in ops.written_arguments(func)]
        for tensor in ops.signal_tensors(written):
            self.guard.before_write(tensor)
        if self.in_backward:
            results = func(*args, **kwargs)
            if self.careful and self.first_non_finite is None:
                self._look_for_non_finite(func, read, results)
            return results
        spec = ops.spec_of(func)
        finite_before = self._finite(read)
        self.last = (spec.name, self.stack.path, tuple(tuple(t.shape) for t in read))
        before = norms.running_statistics(func, args, kwargs) if spec.role == "norm" else None
        results = func(*args, **kwargs)
        if self.careful and self.first_non_finite is None and finite_before:
            self._look_for_non_finite(func, read, results)
        self._observe(func, spec, args, kwargs, results, before)
        return results

    def hook_awaiting(self) -> None:
        """Sets the gradient hooks of the outputs that have their history by now."""
        for tensor, draft in self._awaiting:
            if self.backward and tensor.requires_grad:
                tensor.register_hook(draft.measure_gradient)
        self._awaiting.clear()

    def _observe(
        self,
        func: OpOverload,
        spec: OpSpec,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        results: Any,
        before: Any,
    ) -> None:
        read = ops.signal_tensors((*args, *kwargs.values()))
        produced = ops.signal_tensors(results)
        origins = [self.provenance.of(tensor) for tensor in read]
        if spec.role == "random" or "bernoulli_" in str(func):
            return self._assign(produced, Origin(noise=True))
        data = any(origin.data for origin in origins)
        if data:
            self.used.update(name for origin in origins for name in origin.parameters)
        if data and not self.stack.inside and self.stack.entered:
            self._observe_loss(func, spec, origins)
        elif data and spec.role == "loss":
            self._observe_inner_loss(func, origins)
        elif data or spec.role == "map":
            origin = self._observe_layer(func, spec, args, kwargs, results, read, origins, before)
            if origin is not None:
                return self._assign(produced, origin)
        return self._assign(produced, self._passed_on(func, spec, read, origins))

    def _assign(self, tensors: list[torch.Tensor], origin: Origin) -> None:
        for tensor in tensors:
            self.provenance.assign(tensor, origin)

    def _passed_on(self, func: OpOverload, spec: OpSpec, read: list[torch.Tensor], origins: list[Origin]) -> Origin:
        if func.overloadpacket.__name__ in ("copy_", "fill_", "zero_") and read:
            # A whole overwrite forgets what stood there; writing into a slice adds to it.
            whole = read[0].numel() * read[0].element_size() == read[0].untyped_storage().nbytes()
            origins = origins[1:] if whole else origins
        if spec.role == "view":
            return merged(origins)
        if spec.role == "map":
            return merged(origins, "matmul")
        dropout = spec.role == "mul" and any(origin.noise for origin in origins)
        return merged(origins, "dropout" if dropout else spec.name)

    def _observe_loss(self, func: OpOverload, spec: OpSpec, origins: list[Origin]) -> None:
        if spec.role == "view":
            return
        self.loss_ops.append(ops.loss_name(func))
        if self.loss_origin is None:
            self.loss_origin = next((origin for origin in origins if origin.layers), None)

    def _observe_inner_loss(self, func: OpOverload, origins: list[Origin]) -> None:
        """A loss that the model computes itself: its log-softmax, if it has one, belongs to the loss."""
        origin = next((origin for origin in origins if origin.layers), None)
        if origin is None:
            return
        last = self.drafts[origin.layers[-1]]
        if last.op == "log_softmax":
            self.loss_ops.append("log_softmax")
            origin = Origin(data=True, layers=last.inputs, via=last.via)
        self.loss_ops.append(ops.loss_name(func))
        self.loss_origin = self.loss_origin or origin

    def _observe_layer(
        self, func: OpOverload, spec: OpSpec, args: tuple[Any, ...], kwargs: Mapping[str, Any], results: Any,
        read: list[torch.Tensor], origins: list[Origin], before: Any,
    ) -> Origin | None:  # fmt: skip
        """Drafts the record if the operation deserves one, and returns its output's origin; None otherwise."""
        output = next(iter(ops.signal_tensors(results)), None)
        if output is None:
            return None
        if spec.role == "map":
            return self._observe_map(spec, args, output, origins)
        if spec.role == "view":
            self._follow_reshape(output, origins)
            return None
        if spec.role == "norm":
            return self._observe_norm(func, spec, args, kwargs, results, output, before)
        if spec.role in ("activation", "attention"):
            return self._observe_activation(spec, args, kwargs, output, origins)
        if spec.role in ("add", "mul"):
            return self._observe_combination(spec, read, origins, output)
        return None

    def _observe_map(
        self, spec: OpSpec, args: tuple[Any, ...], output: torch.Tensor, origins: list[Origin]
    ) -> Origin | None:
        geometry = maps.geometry(spec, args, output, self.provenance.of)
        if geometry is None:
            return None
        signal = geometry.signal
        source = self.provenance.of(signal) if signal is not None else Origin(data=True)
        name = maps.owner(geometry.parameters[0])
        draft = self._draft(
            name, geometry.kind, geometry.op, maps.module_path(geometry.parameters[0]), spec, output,
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

    def _observe_norm(
        self, func: OpOverload, spec: OpSpec, args: tuple[Any, ...], kwargs: Mapping[str, Any], results: Any,
        output: torch.Tensor, before: Any,
    ) -> Origin | None:  # fmt: skip
        call = norms.call(func, args, kwargs)
        source = self.provenance.of(call["input"])
        parameters = tuple(
            name
            for key in ("weight", "bias")
            if isinstance(call.get(key), torch.Tensor)
            for name in self.provenance.of(call[key]).parameters
        )
        name = maps.owner(parameters[0]) if parameters else self.stack.operation_name(spec.name)
        module = maps.module_path(parameters[0]) if parameters else self.stack.path
        unit_dim = -1 if spec.name in ("layer_norm", "rms_norm") else 1
        draft = self._draft(name, "norm", spec.name, module, spec, output, unit_dim, source)
        if draft is None:
            return None
        draft.parameters = parameters
        draft.norm = norms.facts(spec.name, call, self.stack.module, self.batch_size)
        draft.op = str(draft.norm["type"]) + "_norm"
        draft.norm_figures = norms.against_running(call, before)
        return self._measured(draft, output)

    def _observe_activation(
        self,
        spec: OpSpec,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        output: torch.Tensor,
        origins: list[Origin],
    ) -> Origin | None:
        source = merged(origins)
        op, attributes = ops.described(spec, args, kwargs)
        kind: LayerKind = spec.kind
        if spec.name == "softmax" and "matmul" in source.via:
            kind = "attention"
        parameters = tuple(name for origin in origins if not origin.data for name in origin.parameters)
        unit_dim = self._unit_dim(output, source)
        draft = self._draft(self.stack.operation_name(op), kind, op, self.stack.path, spec, output, unit_dim, source)
        if draft is None:
            return None
        draft.attributes, draft.parameters = attributes, parameters
        return self._measured(draft, output)

    def _observe_combination(
        self, spec: OpSpec, read: list[torch.Tensor], origins: list[Origin], output: torch.Tensor
    ) -> Origin | None:
        """A bias is taken into its map; a sum of two layers, or with a parameter of two dimensions, is a layer."""
        if len(read) < 2:
            return None
        signals = [origin for origin in origins if origin.data]
        parameters = [(t, o) for t, o in zip(read, origins, strict=True) if not o.data and o.parameters]
        if parameters and len(signals) == 1:
            tensor, origin = parameters[0]
            if spec.role == "add" and self._absorb_bias(tensor, origin, signals[0], output):
                return signals[0]
            if sum(size > 1 for size in tensor.shape) < 2:
                return None
            name = maps.owner(origin.parameters[0])
            draft = self._draft(
                name, "other", spec.name, maps.module_path(origin.parameters[0]), spec, output,
                self._unit_dim(output, signals[0]), signals[0],
            )  # fmt: skip
            if draft is None:
                return None
            draft.parameters = origin.parameters
            draft.weight_sums = reductions.moments(tensor)
            return self._measured(draft, output)
        distinct = len({origin.layers for origin in signals}) > 1
        if spec.role != "add" or not distinct or read[0].shape != read[1].shape:
            return None
        source = merged(signals)
        unit_dim = self._unit_dim(output, source)
        draft = self._draft(
            f"{self.stack.path}:{spec.name}", "other", spec.name, self.stack.path, spec, output, unit_dim, source
        )
        return None if draft is None else self._measured(draft, output)

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

    def _finite(self, tensors: list[torch.Tensor]) -> bool:
        return not self.careful or all(bool(torch.isfinite(tensor).all()) for tensor in tensors)

    def _look_for_non_finite(self, func: OpOverload, read: list[torch.Tensor], results: Any) -> None:
        name = func.overloadpacket.__name__
        if name.startswith("empty") or name.startswith("new_empty") or not self._finite(read):
            return
        for tensor in ops.signal_tensors(results):
            bad = ~torch.isfinite(tensor)
            # An attention mask is filled with -inf on purpose: no operation computed it.
            if bool(bad.any()) and name not in ("full", "full_like", "fill_", "masked_fill", "masked_fill_", "where"):
                phase = "backward" if self.in_backward else "forward" if self.stack.inside else "loss"
                kind = "nan" if bool(torch.isnan(tensor).any()) else "inf"
                largest = max((float(t.detach().abs().max()) for t in read if t.numel()), default=None)
                self.first_non_finite = NonFiniteRecord(
                    ops.spec_of(func).name, self.stack.path, phase, kind, int(bad.sum()), largest, str(tensor.dtype)[6:]
                )
                return
