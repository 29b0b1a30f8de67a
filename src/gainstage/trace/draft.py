"""A layer's record while it is being made: sums on the device, turned into numbers at the end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from gainstage.trace import norms, reductions
from gainstage.trace.figures import figures, magnitude_figures, short
from gainstage.trace.grams import GramFigures, sample_gram
from gainstage.trace.ops import OpSpec
from gainstage.trace.records import LayerKind, LayerRecord, NormRecord, ParameterRecord
from gainstage.trace.sums import Magnitudes, Number, Sums

Numbers = dict[str, float]


@dataclass
class Draft:
    """See `LayerRecord` for the fields of the same name."""

    name: str
    kind: LayerKind
    op: str
    module: str
    spec: OpSpec
    shape: tuple[int, ...]
    unit_dim: int | None
    position: int
    inputs: tuple[int, ...] = ()
    via: tuple[str, ...] = ()
    modifiers: tuple[tuple[str, str], ...] = ()
    parameters: tuple[str, ...] = ()
    attributes: Numbers = field(default_factory=dict[str, float])
    fan_in: float | None = None
    fan_out: float | None = None
    input_from: int | None = None
    norm: dict[str, Any] | None = None
    running: tuple[Sums, norms.Running] | None = None
    padded_share: torch.Tensor | None = None
    first_call: Draft | None = None
    forward: Sums | None = None
    gradient: Magnitudes | None = None
    gram: torch.Tensor | None = None
    plateau: Number | None = None
    input_magnitudes: Magnitudes | None = None
    weight_sums: Sums | None = None
    bias: str | None = None
    bias_magnitudes: Magnitudes | None = None
    careful: bool = False
    computed: bool = False
    by_hand: bool = False
    packed: bool = False
    part: tuple[int, int] | None = None
    generation: int = 0
    dtype: str = "float32"

    @property
    def count(self) -> int:
        """Number of output values."""
        return math.prod(self.shape)

    def own(self, tensor: torch.Tensor) -> torch.Tensor:
        """The part of an output, or of its gradient, that is this layer's: one of several packed in one weight."""
        return tensor if self.part is None else tensor.narrow(-1, *self.part)

    def measure(self, tensor: torch.Tensor, batch_size: int | None) -> None:
        """Reduces the output; once more if an operation behind it turns out to belong to the layer."""
        self.generation += 1
        tensor = self.own(tensor)
        self.dtype = str(tensor.dtype)[6:]
        self.forward = reductions.moments(tensor, self.unit_dim, careful=self.careful)
        self.gram = sample_gram(tensor, batch_size, wide=not self.forward.narrow)
        if self.spec.plateau is not None:
            self.plateau = reductions.plateau_count(tensor, self.spec.plateau)

    def measure_gradient(self, generation: int, gradient: torch.Tensor | None) -> None:
        """Reduces the gradient with respect to the output; as a hook, it returns nothing and changes nothing.

        Args:
            generation: Of the output when the hook was set; an earlier one is no longer the layer's output.
            gradient: Of the loss. None where the loss does not depend on this one of an operation's several outputs:
                a recurrent layer of which only the last state is used.
        """
        if gradient is not None and generation == self.generation:
            self.gradient = reductions.magnitudes(self.own(gradient), self.unit_dim)

    def record(
        self,
        batch_size: int | None,
        rms_of: Mapping[int, float | None],
        parameters: Mapping[str, ParameterRecord],
        gram: GramFigures,
    ) -> LayerRecord:
        """The finished record.

        Args:
            batch_size: Of the batch.
            rms_of: The rms of the layers before this one, by position.
            parameters: By name; a weight or bias that is a plain parameter has its figures from there.
            gram: Stable rank and similarity.
        """
        forward = figures(self.forward)
        gradient, read = magnitude_figures(self.gradient), magnitude_figures(self.input_magnitudes)
        bias = parameters.get(self.bias or "") or magnitude_figures(self.bias_magnitudes)
        plain = parameters.get(self.parameters[0]) if self.parameters else None
        weight = plain if self.weight_sums is None and plain is not None else figures(self.weight_sums)
        stable_rank, similarity = gram
        per_unit = self.unit_dim is not None and len(self.shape) >= 2
        dead = self.spec.rectifier and forward.units > 1
        count = self.count
        return LayerRecord(
            name=self.name, kind=self.kind, op=self.op, module=self.module, shape=self.shape, inputs=self.inputs,
            via=self.via, modifiers=self.modifiers, parameters=self.parameters, attributes=self.attributes or None,
            batch_size=batch_size,
            input_rms=short(read.rms) if self.input_magnitudes is not None else rms_of.get(self.input_from or 0)
            if self.input_from is not None else None,
            mean=short(forward.mean), std=short(forward.std), rms=short(forward.rms), max_abs=short(forward.max_abs),
            zero_fraction=short(forward.zero_fraction),
            saturated_fraction=None if self.plateau is None or not count else short(float(self.plateau) / count),
            dead_fraction=short(forward.dead_fraction) if dead else None,
            channel_mean_rms=short(forward.unit_mean_rms) if per_unit else None,
            channel_std=short(forward.unit_std) if per_unit else None,
            stable_rank=short(stable_rank), similarity=short(similarity),
            grad_rms=short(gradient.rms), grad_max_abs=short(gradient.max_abs),
            dead_gradient_fraction=short(gradient.dead_fraction) if gradient.units > 1 else None,
            weight_std=short(weight.std), weight_rms=short(weight.rms), weight_mean=short(weight.mean),
            bias_rms=short(bias.rms),
            weight_grad_rms=None if plain is None else short(plain.grad_rms),
            fan_in=self.fan_in, fan_out=self.fan_out, computed=self.computed, non_finite=forward.non_finite,
            grad_non_finite=gradient.non_finite, norm=self._norm_record(weight.rms),
            dtype=self.dtype,
        )  # fmt: skip

    def _norm_record(self, scale_rms: float | None) -> NormRecord | None:
        if self.norm is None:
            return None
        found: dict[str, Any] = {"scale_rms": short(scale_rms)}
        if self.padded_share is not None:
            found["padded_share"] = short(float(self.padded_share))
        if self.running is not None:
            sums, running = self.running
            found |= _distances("batch", norms.against_running(sums, running))
            found |= norms.channel_facts(sums, running, self.norm["eps"])
            if self.first_call is not None and self.first_call.running is not None:
                found |= _distances("call", norms.against_first(sums, self.first_call.running[0]))
                found["first_call"] = self.first_call.position
        return NormRecord(**self.norm, **found)


def _distances(what: str, found: tuple[float, float] | None) -> dict[str, Any]:
    shift, ratio = found or (None, None)
    return {f"{what}_shift": short(shift), f"{what}_scale_ratio": short(ratio)}
