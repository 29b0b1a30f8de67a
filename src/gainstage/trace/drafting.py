"""Which operations deserve a record, and the drafting of it: maps, norms, activations, sums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch._ops import OpOverload

from gainstage.trace import maps, norms, ops, reductions
from gainstage.trace.draft import Draft
from gainstage.trace.names import ModuleStack
from gainstage.trace.ops import OpFacts, OpSpec
from gainstage.trace.provenance import Origin, Provenance, merged
from gainstage.trace.records import LayerKind

# A cell called for every pixel of a sequence would fill the trace; its later calls pass through unrecorded.
MAX_CALLS = 16


@dataclass(slots=True)
class Call:
    """One operation as it ran.

    Attributes:
        read, origins: Its signal tensors among the arguments, and where each comes from.
        before: A batch norm's running statistics from before the call.
    """

    func: OpOverload
    facts: OpFacts
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    results: Any
    read: list[torch.Tensor]
    origins: list[Origin]
    before: norms.Running | None

    @property
    def spec(self) -> OpSpec:
        """What the operation is to a recording."""
        return self.facts.spec


class Drafting:
    """Drafts a record for each layer's work in each call, and measures its output there and then.

    Args:
        stack: Knows which module is running.
        provenance: Knows where tensors come from.
        batch_size: Of the batch, None if unknown.
        careful: Leave non-finite values out of the figures.
        backward: Whether gradients will be asked for.
    """

    def __init__(
        self, stack: ModuleStack, provenance: Provenance, batch_size: int | None, *, careful: bool, backward: bool
    ) -> None:
        self.stack, self.provenance, self.batch_size = stack, provenance, batch_size
        self.careful, self.backward = careful, backward
        self.drafts: list[Draft] = []
        self.capped: set[str] = set()
        self.without_grad = False
        self._awaiting: list[tuple[torch.Tensor, Draft]] = []

    def hook_awaiting(self) -> None:
        """Sets the gradient hooks of the outputs that have their history by now."""
        if not self._awaiting:
            return
        for tensor, draft in self._awaiting:
            if self.backward and tensor.requires_grad:
                tensor.register_hook(draft.measure_gradient)
        self._awaiting.clear()

    def observe(self, call: Call, output: torch.Tensor) -> Origin | None:
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
        if role == "view" and len(call.origins) == 1:
            self.follow_reshape(output, call.origins[0])
        return None

    def _observe_map(self, call: Call, output: torch.Tensor) -> Origin | None:
        geometry = maps.geometry(call.spec, call.args, self.provenance.of)
        if geometry is None:
            return None
        signal = geometry.signal
        signals = [origin for origin in call.origins if origin.data]
        source = merged(signals) if signal is not None and signals else Origin(data=True)
        self.without_grad = self.without_grad or not torch.is_grad_enabled()
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
        if geometry.bias is not None:
            self._measure_bias(draft, geometry.bias, self.provenance.of(geometry.bias))
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
            draft.input_magnitudes = reductions.magnitudes(signal)

    def _measure_bias(self, draft: Draft, bias: torch.Tensor, origin: Origin) -> None:
        """A bias that is a parameter itself has its figures from the parameter's record."""
        draft.bias = origin.parameters[0]
        if not origin.plain:
            draft.bias, draft.bias_magnitudes = "", reductions.magnitudes(bias)

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
        if call.spec.role == "mul" and any(norms.is_inverse_rms(origin.via) for origin in signals):
            return self._observe_rms_norm(call, output)
        distinct = len({origin.layers for origin in signals}) > 1
        if call.spec.role != "add" or not distinct or call.read[0].shape != call.read[1].shape:
            return None
        source = merged(signals)
        draft = self._draft(
            f"{self.stack.path}:{call.spec.name}", "other", call.spec.name, self.stack.path, call.spec, output,
            self._unit_dim(output, source), source,
        )  # fmt: skip
        return None if draft is None else self._measured(draft, output)

    def _observe_rms_norm(self, call: Call, output: torch.Tensor) -> Origin | None:
        """A signal times the inverse of its own rms: what a root-mean-square norm is where no kernel fuses it."""
        source = merged(origin for origin in call.origins if not norms.is_inverse_rms(origin.via))
        name, path = self.stack.operation_name("rms_norm"), self.stack.path
        draft = self._draft(name, "norm", "rms_norm", path, call.spec, output, -1, source)
        if draft is None:
            return None
        statistics = min(tensor.numel() for tensor in call.read)
        draft.norm = norms.rms_facts(output.numel() // max(1, statistics), self.stack.module)
        return self._measured(draft, output)

    def _absorb_scale(self, origin: Origin, signal: Origin, output: torch.Tensor) -> bool:
        if len(signal.layers) != 1 or signal.via:
            return False
        draft = self.drafts[signal.layers[0]]
        if draft.op != "rms_norm" or draft.norm is None or draft.parameters:
            return False
        draft.parameters, draft.norm["affine"] = origin.parameters, True
        self._measured(draft, output)
        return True

    def _observe_parameter(
        self, call: Call, parameter: torch.Tensor, origin: Origin, signal: Origin, output: torch.Tensor
    ) -> Origin | None:
        """A signal plus or times a parameter."""
        if call.spec.role == "add" and self._absorb_bias(parameter, origin, signal, output):
            return signal
        if call.spec.role == "mul" and parameter.ndim == 1 and self._absorb_scale(origin, signal, output):
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
        if draft.spec.role != "map" or draft.bias is not None or draft.kind == "embedding":
            return False
        if maps.module_path(origin.parameters[0]) != draft.module:
            return False
        draft.parameters = (*draft.parameters, *origin.parameters)
        self._measure_bias(draft, bias, origin)
        draft.shape = tuple(output.shape)
        self._measured(draft, output)
        return True

    def follow_reshape(self, output: torch.Tensor, origin: Origin) -> None:
        """A map flattens its leading dimensions before it multiplies; users know the shape that it returns."""
        if len(origin.layers) != 1 or origin.via or output.ndim < 3:
            return
        draft = self.drafts[origin.layers[0]]
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
