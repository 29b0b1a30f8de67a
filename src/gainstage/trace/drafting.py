"""Which operations deserve a record, and the drafting of it: maps, norms, activations, sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch._ops import OpOverload

from gainstage.trace import maps, norms, ops, recognition, reductions
from gainstage.trace.draft import Draft
from gainstage.trace.maps import Geometry
from gainstage.trace.names import ModuleStack
from gainstage.trace.ops import OpFacts, OpSpec
from gainstage.trace.preserve import storage_key
from gainstage.trace.provenance import Origin, Provenance, merged
from gainstage.trace.records import LayerKind
from gainstage.trace.sums import Sums

# A cell called for every pixel of a sequence would fill the trace; its later calls pass through unrecorded.
MAX_CALLS = 16
# A deep network written as one function has many activations and sums of one name; a loop over values has more.
MOST_CALLS = 4096


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
        matrices: Names of the parameters with two dimensions and more: whatever reads one is a layer.
        batch_size: Of the batch, None if unknown.
        careful: Leave non-finite values out of the figures.
        backward: Whether gradients will be asked for.
        measuring: Reduce figures.
    """

    def __init__(
        self, stack: ModuleStack, provenance: Provenance, matrices: frozenset[str], batch_size: int | None,
        *, careful: bool, backward: bool, measuring: bool,
    ) -> None:  # fmt: skip
        self.stack, self.provenance, self.matrices, self.batch_size = stack, provenance, matrices, batch_size
        self.careful, self.backward, self.measuring = careful, backward, measuring
        self.drafts: list[Draft] = []
        self.capped: set[str] = set()
        self._worn: set[str] = set()
        self._first_calls: dict[int | None, Draft] = {}
        self.ungraded: set[str] = set()
        self._awaiting: list[tuple[torch.Tensor, Draft]] = []
        self._observers = {
            "map": self._observe_map, "lookup": self._observe_lookup, "norm": self._observe_norm,
            "activation": self._observe_activation, "attention": self._observe_activation,
            "add": self._observe_sum, "mul": self._observe_product, "view": self._observe_reshape,
        }  # fmt: skip

    def recorded_calls(self, name: str) -> int:
        """How many calls under this name have a record."""
        return sum(draft.name.partition("#")[0] == name for draft in self.drafts)

    def hook_awaiting(self) -> None:
        """Sets the gradient hooks of the outputs that have their history by now."""
        for tensor, draft in self._awaiting:
            if self.backward and tensor.requires_grad:
                tensor.register_hook(partial(draft.measure_gradient, draft.generation))
        self._awaiting.clear()

    def observe(self, call: Call, output: torch.Tensor) -> Origin | None:
        """Drafts the record if the operation deserves one, and returns its output's origin; None otherwise."""
        observer = self._observers.get(call.spec.role)
        origin = None if observer is None else observer(call, output)
        return self._observe_use(call, output) if origin is None else origin

    def _observe_map(self, call: Call, output: torch.Tensor) -> Origin | None:
        geometry = maps.geometry(call.spec, call.args, self.provenance.of)
        if geometry is None:
            self._note_packed(call)
            return None
        return self._drafted_map(call, geometry, output)

    def _observe_lookup(self, call: Call, output: torch.Tensor) -> Origin | None:
        """Rows of a raw parameter picked by indices are an embedding; by a buffer they are no more than its part."""
        weight, indices = call.args[0], call.args[-1]
        origin = self.provenance.of(weight)
        picked: list[Any] = list(indices) if isinstance(indices, (tuple, list)) else [indices]
        fixed = any(isinstance(index, torch.Tensor) and self.provenance.is_buffer(index) for index in picked)
        if origin.data or fixed or not self._is_matrix(origin):
            return None
        return self._drafted_map(call, maps.lookup(weight, origin), output)

    def _drafted_map(self, call: Call, geometry: Geometry, output: torch.Tensor) -> Origin | None:
        signal = geometry.signal
        signals = [origin for origin in call.origins if origin.data]
        source = merged(signals) if signal is not None and signals else Origin(data=True)
        if not torch.is_grad_enabled():
            self.ungraded.update(geometry.parameters)
        weight = geometry.parameters[0]
        name, module = maps.owner(weight), maps.module_path(weight)
        drafts: list[Draft] = []
        for part in geometry.parts or (None,):
            label = name if part is None else f"{name}[{part.label}]"
            shape = output.shape if part is None else (*output.shape[:-1], part.length)
            draft = self._draft(label, geometry.kind, geometry.op, module, call.spec, shape, geometry.unit_dim, source)
            if draft is None:
                return None
            draft.parameters, draft.fan_in, draft.fan_out = geometry.parameters, geometry.fan_in, geometry.fan_out
            draft.attributes, draft.computed = geometry.attributes, not geometry.plain
            if part is not None:
                draft.part = (part.start, part.length)
            if self.measuring and (part is not None or not geometry.plain):
                draft.weight_sums = reductions.moments(geometry.weight if part is None else part.weight, zeros=False)
            if geometry.bias is not None:
                bias = geometry.bias if part is None or part.bias is None else part.bias
                self._measure_bias(draft, bias, self.provenance.of(geometry.bias), whole=part is None)
            if signal is not None:
                self._measure_input(draft, signal, source)
            drafts.append(draft)
        for draft in drafts:
            self._measured(draft, output)
        return Origin(data=True, layers=tuple(draft.position for draft in drafts))

    def _note_packed(self, call: Call) -> None:
        """A product of two parts of one layer's output: it is that many maps in one weight, each with its fans."""
        sources = [origin.layers for origin in call.origins if origin.data]
        if len(sources) < 2 or sources[0] != sources[1] or len(sources[0]) != 1 or not call.read[0].numel():
            return
        draft = self.drafts[sources[0][0]]
        parts, rest = divmod(draft.count, call.read[0].numel())
        alike = call.read[0].numel() == call.read[1].numel()
        if draft.fan_out and parts > 1 and alike and not rest and draft.kind == "linear" and not draft.packed:
            draft.packed, draft.fan_out = True, draft.fan_out / parts

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
        if self.measuring and (signal.is_floating_point() or signal.is_complex()):
            draft.input_magnitudes = reductions.magnitudes(signal)

    def _measure_bias(self, draft: Draft, bias: torch.Tensor, origin: Origin, *, whole: bool = True) -> None:
        """A bias that is a parameter itself has its figures from the parameter's record."""
        draft.bias = origin.parameters[0]
        if self.measuring and (not origin.plain or not whole):
            draft.bias, draft.bias_magnitudes = "", reductions.magnitudes(bias)

    def _observe_norm(self, call: Call, output: torch.Tensor) -> Origin | None:
        named = norms.named_arguments(call.func, call.args, call.kwargs)
        affine = [named[key] for key in ("weight", "bias") if isinstance(named.get(key), torch.Tensor)]
        parameters = tuple(name for tensor in affine for name in self.provenance.of(tensor).parameters)
        name = maps.owner(parameters[0]) if parameters else self.stack.operation_name(call.spec.name)
        module = maps.module_path(parameters[0]) if parameters else self.stack.path
        unit_dim = -1 if call.spec.name in ("layer_norm", "rms_norm") else 1
        source = self.provenance.of(named["input"])
        draft = self._draft(name, "norm", call.spec.name, module, call.spec, output.shape, unit_dim, source)
        if draft is None:
            return None
        draft.parameters = parameters
        draft.norm = norms.facts(call.spec.name, named, self.stack.module, self.batch_size)
        draft.op = f"{draft.norm['type']}_norm"
        draft.padded_share = norms.padded_share(draft.norm, named["input"], self.batch_size) if self.measuring else None
        if call.before is not None and self.measuring:
            draft.running = (self._channel_sums(named["input"], source), call.before)
            # What is shared is known by its running statistics: a norm may be no module, or two with one scale.
            first = self._first_calls.setdefault(storage_key(named["running_mean"]), draft)
            draft.first_call = None if first is draft else first
        return self._measured(draft, output)

    def _channel_sums(self, signal: torch.Tensor, source: Origin) -> Sums:
        """The sums of what a batch norm reads: those of the layer before if it is the very same tensor."""
        if len(source.layers) == 1 and not source.via:
            before = self.drafts[source.layers[0]]
            if before.forward is not None and before.unit_dim == 1 and before.shape == tuple(signal.shape):
                return before.forward
        return reductions.moments(signal, 1, zeros=False)

    def _observe_activation(self, call: Call, output: torch.Tensor) -> Origin | None:
        if call.spec.role == "attention":
            self._note_packed(call)
        source = merged(call.origins)
        op, attributes = ops.described(call.spec, call.args, call.kwargs)
        kind: LayerKind = "attention" if op == "softmax" and "matmul" in source.via else call.spec.kind
        name, unit_dim = self.stack.operation_name(op), self._unit_dim(output, source)
        draft = self._draft(name, kind, op, self.stack.path, call.spec, output.shape, unit_dim, source)
        if draft is None:
            return None
        draft.attributes = attributes
        draft.parameters = tuple(name for origin in call.origins if not origin.data for name in origin.parameters)
        return self._measured(draft, output)

    def _observe_sum(self, call: Call, output: torch.Tensor) -> Origin | None:
        """A bias is taken into its map, a shift into its norm; a sum of two signals is a layer."""
        if len(call.read) != 2:
            return None
        signals = [origin for origin in call.origins if origin.data]
        if len(signals) == 1:
            parameter, origin = _parameter_of(call)
            absorbed = origin.parameters and self._absorb_bias(parameter, origin, signals[0], output)
            return signals[0] if absorbed else None
        if signals[0].layers == signals[1].layers or call.read[0].shape != call.read[1].shape or not output.ndim:
            return None  # two scalars are parts of a loss
        source = merged(signals)
        name, unit_dim = f"{self.stack.path}:{call.spec.name}", self._unit_dim(output, source)
        draft = self._draft(name, "other", call.spec.name, self.stack.path, call.spec, output.shape, unit_dim, source)
        return None if draft is None else self._measured(draft, output)

    def _observe_product(self, call: Call, output: torch.Tensor) -> Origin | None:
        """A scale is taken into its norm; x times something made of x may be an activation or a norm."""
        if len(call.read) != 2:
            return None
        signals = [origin for origin in call.origins if origin.data]
        if len(signals) == 1:
            parameter, origin = _parameter_of(call)
            absorbed = origin.parameters and self._absorb_scale(parameter, origin, signals[0], output)
            return signals[0] if absorbed else None
        return (
            self._observe_gate(call, output)
            or self._observe_written_out(call, output)
            or self._observe_norm_by_hand(call, output)
        )

    def _observe_gate(self, call: Call, output: torch.Tensor) -> Origin | None:
        found = recognition.self_gated(call.origins, self.drafts, output.numel()) if call.spec.name == "mul" else None
        if found is None:
            return None
        name, draft = found
        draft.op, draft.spec, draft.plateau, draft.via = name, ops.NO_PLATEAU, None, ()
        if name == "mish":
            draft.inputs = self.drafts[draft.inputs[0]].inputs
        return self._measured(draft, output)

    def _observe_written_out(self, call: Call, output: torch.Tensor) -> Origin | None:
        if (op := recognition.written_out(call.spec.name, call.origins)) is None:
            return None
        source = Origin(data=True, layers=call.origins[0].layers)
        name, unit_dim = self.stack.operation_name(op), self._unit_dim(output, source)
        path = self.stack.path
        draft = self._draft(name, "activation", op, path, ops.NO_PLATEAU, output.shape, unit_dim, source)
        return None if draft is None else self._measured(draft, output)

    def _observe_norm_by_hand(self, call: Call, output: torch.Tensor) -> Origin | None:
        found = recognition.normalized(call.spec.name, call.origins, call.read)
        if found is None:
            return None
        (kind, unit_dim), op = found, f"{found[0]}_norm"
        layers = dict.fromkeys(layer for origin in call.origins for layer in origin.layers)
        source = Origin(data=True, layers=tuple(layers))
        name, path = self.stack.operation_name(op), self.stack.path
        draft = self._draft(name, "norm", op, path, call.spec, output.shape, unit_dim, source)
        if draft is None:
            return None
        statistics = min(recognition.distinct(tensor) for tensor in call.read)
        draft.norm = norms.facts_by_hand(kind, output.numel() // max(1, statistics), self.stack.module)
        draft.by_hand = True
        return self._measured(draft, output)

    def _absorb_scale(self, scale: torch.Tensor, origin: Origin, signal: Origin, output: torch.Tensor) -> bool:
        if len(signal.layers) != 1 or signal.via or not _is_vector(scale):
            return False
        draft = self.drafts[signal.layers[0]]
        if not draft.by_hand or draft.norm is None or draft.parameters:
            return False
        draft.parameters, draft.norm["affine"] = origin.parameters, True
        self._measured(draft, output)
        return True

    def _absorb_bias(self, bias: torch.Tensor, origin: Origin, signal: Origin, output: torch.Tensor) -> bool:
        drafts = [self.drafts[position] for position in signal.layers]
        if not drafts or signal.via or not _is_vector(bias):
            return False
        if drafts[0].by_hand and len(drafts) == 1:
            drafts[0].parameters = (*drafts[0].parameters, *origin.parameters)
            self._measured(drafts[0], output)
            return True
        module = maps.module_path(origin.parameters[0])
        if (len(drafts) > 1 and any(draft.part is None for draft in drafts)) or any(
            draft.spec.role != "map" or draft.bias is not None or draft.kind == "embedding" or draft.module != module
            for draft in drafts
        ):
            return False
        for draft in drafts:
            draft.parameters = (*draft.parameters, *origin.parameters)
            own, whole = (bias, True) if draft.part is None else (draft.own(bias), False)
            self._measure_bias(draft, own, origin, whole=whole)
            draft.shape = (*output.shape[:-1], draft.shape[-1]) if draft.part is not None else tuple(output.shape)
            self._measured(draft, output)
        return True

    def _observe_use(self, call: Call, output: torch.Tensor) -> Origin | None:
        """Whatever else a parameter of two dimensions and more does to the signal: a token, a table, a scale."""
        used = [(tensor, origin) for tensor, origin in zip(call.read, call.origins, strict=True)
                if not origin.data and self._is_matrix(origin)]  # fmt: skip
        signals = [origin for origin in call.origins if origin.data]
        if not used or not signals:
            return None
        source = merged(signals)
        name = next(name for name in used[0][1].parameters if name in self.matrices)
        op, path, unit_dim = call.spec.name, maps.module_path(name), self._unit_dim(output, source)
        draft = self._draft(maps.owner(name), "other", op, path, call.spec, output.shape, unit_dim, source)
        if draft is None:
            return None
        others = (other for _, origin in used for other in origin.parameters)
        draft.parameters = tuple(dict.fromkeys((name, *others)))
        draft.computed = not used[0][1].plain
        if draft.computed and self.measuring:
            draft.weight_sums = reductions.moments(used[0][0], zeros=False)
        return self._measured(draft, output)

    def _is_matrix(self, origin: Origin) -> bool:
        return bool(origin.parameters) and not self.matrices.isdisjoint(origin.parameters)

    def _observe_reshape(self, call: Call, output: torch.Tensor) -> None:
        if len(call.origins) == 1:
            self.follow_reshape(output, call.origins[0])

    def follow_reshape(self, output: torch.Tensor, origin: Origin) -> None:
        """A map flattens its leading dimensions before it multiplies; users know the shape that it returns."""
        if not origin.layers or origin.via or output.ndim < 3 or origin.layers[-1] != len(self.drafts) - 1:
            return
        drafts = [self.drafts[position] for position in origin.layers]
        if any(draft.kind != "linear" or len(draft.shape) != 2 for draft in drafts):
            return
        features = sum(draft.shape[1] for draft in drafts)
        if output.shape[-1] == features and output.numel() == drafts[0].shape[0] * features:
            for draft in drafts:
                draft.shape = (*output.shape[:-1], draft.shape[1])

    def _unit_dim(self, output: torch.Tensor, source: Origin) -> int:
        if output.ndim == 3 and source.layers:
            before = self.drafts[source.layers[-1]]
            return -1 if before.unit_dim == -1 else 1
        return 1 if output.ndim != 3 else -1

    def _draft(
        self, name: str, kind: LayerKind, op: str, module: str, spec: OpSpec, shape: Sequence[int],
        unit_dim: int | None, source: Origin,
    ) -> Draft | None:  # fmt: skip
        unique, count = self.stack.unique(name)
        reused = spec.role == "map" or module in self._worn
        if count > (MAX_CALLS if reused else MOST_CALLS):
            self.capped.add(name)
            # What runs around a cell that is called for ever does so as well: its own operations, or its parent's.
            self._worn.update((module, module.rpartition(".")[0], self.stack.path))
            return None
        draft = Draft(
            name=unique, kind=kind, op=op, module=module, spec=spec, shape=tuple(shape), unit_dim=unit_dim,
            position=len(self.drafts), inputs=source.layers, via=source.via, modifiers=source.modifiers,
            careful=self.careful,
        )  # fmt: skip
        self.drafts.append(draft)
        return draft

    def _measured(self, draft: Draft, output: torch.Tensor) -> Origin:
        if not self.measuring:
            return Origin(data=True, layers=(draft.position,))
        draft.measure(output, self.batch_size)
        self._awaiting = [(tensor, other) for tensor, other in self._awaiting if other is not draft]
        self._awaiting.append((output, draft))
        return Origin(data=True, layers=(draft.position,))


def _parameter_of(call: Call) -> tuple[torch.Tensor, Origin]:
    """The operand that does not depend on the batch, and its origin."""
    return next(pair for pair in zip(call.read, call.origins, strict=True) if not pair[1].data)


def _is_vector(parameter: torch.Tensor) -> bool:
    return sum(size > 1 for size in parameter.shape) <= 1
