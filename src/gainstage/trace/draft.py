"""A layer's record while it is being made: sums on the device, turned into numbers at the end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from gainstage.trace import reductions
from gainstage.trace.ops import OpSpec
from gainstage.trace.records import LayerKind, LayerRecord, NormRecord, ParameterRecord
from gainstage.trace.reductions import Sums

Numbers = dict[str, float]
Array = np.ndarray[Any, np.dtype[np.float64]]


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
    parameters: tuple[str, ...] = ()
    attributes: Numbers = field(default_factory=dict[str, float])
    fan_in: float | None = None
    fan_out: float | None = None
    input_from: int | None = None
    norm: dict[str, object] | None = None
    norm_figures: tuple[torch.Tensor, torch.Tensor] | None = None
    forward: Sums | None = None
    gradient: Sums | None = None
    gram: torch.Tensor | None = None
    plateau: torch.Tensor | None = None
    input_sums: Sums | None = None
    weight_sums: Sums | None = None
    bias_sums: Sums | None = None
    careful: bool = False

    def measure(self, tensor: torch.Tensor, batch_size: int | None) -> None:
        """Reduces the output."""
        self.forward = reductions.moments(tensor, self.unit_dim, careful=self.careful)
        self.gram = reductions.sample_gram(tensor, batch_size)
        if self.spec.plateau is not None:
            self.plateau = reductions.plateau_count(tensor, self.spec.plateau)

    def measure_gradient(self, gradient: torch.Tensor) -> None:
        """Reduces the gradient with respect to the output; as a hook, it returns nothing and changes nothing."""
        dense = gradient.to_dense() if gradient.is_sparse else gradient
        self.gradient = reductions.moments(dense, self.unit_dim, careful=self.careful, zeros=False)

    def record(
        self, batch_size: int | None, rms_of: Mapping[int, float | None], parameters: Mapping[str, ParameterRecord]
    ) -> LayerRecord:
        """The finished record.

        Args:
            batch_size: Of the batch.
            rms_of: The rms of the layers before this one, by position.
            parameters: By name; a weight that is a plain parameter has its figures from there.
        """
        forward = figures(self.forward)
        gradient = figures(self.gradient)
        bias, read = figures(self.bias_sums), figures(self.input_sums)
        plain = parameters.get(self.parameters[0]) if self.parameters else None
        weight = plain if self.weight_sums is None and plain is not None else figures(self.weight_sums)
        stable_rank, similarity = (None, None) if self.gram is None else reductions.gram_figures(self.gram.cpu())
        per_unit = self.unit_dim is not None and len(self.shape) >= 2
        dead = self.spec.rectifier and forward.units > 1
        count = math.prod(self.shape)
        return LayerRecord(
            name=self.name, kind=self.kind, op=self.op, module=self.module, shape=self.shape, inputs=self.inputs,
            via=self.via, parameters=self.parameters, attributes=self.attributes or None, batch_size=batch_size,
            input_rms=read.rms if self.input_sums is not None else rms_of.get(self.input_from or 0)
            if self.input_from is not None else None,
            mean=forward.mean, std=forward.std, rms=forward.rms, max_abs=forward.max_abs,
            zero_fraction=forward.zero_fraction,
            saturated_fraction=None if self.plateau is None or not count else float(self.plateau) / count,
            dead_fraction=forward.dead_fraction if dead else None,
            channel_mean_rms=forward.unit_mean_rms if per_unit else None,
            channel_std=forward.unit_std if per_unit else None,
            stable_rank=stable_rank, similarity=similarity,
            grad_rms=gradient.rms, grad_max_abs=gradient.max_abs,
            dead_gradient_fraction=gradient.dead_fraction if gradient.units > 1 else None,
            weight_std=weight.std, weight_rms=weight.rms, weight_mean=weight.mean, bias_rms=bias.rms,
            weight_grad_rms=None if plain is None else plain.grad_rms,
            fan_in=self.fan_in, fan_out=self.fan_out, non_finite=forward.non_finite,
            grad_non_finite=gradient.non_finite, norm=self._norm_record(weight.rms),
        )  # fmt: skip

    def _norm_record(self, scale_rms: float | None) -> NormRecord | None:
        if self.norm is None:
            return None
        shift, ratio = (None, None) if self.norm_figures is None else (float(f) for f in self.norm_figures)
        shift = shift if shift is not None and math.isfinite(shift) else None
        ratio = ratio if ratio is not None and math.isfinite(ratio) else None
        return NormRecord(scale_rms=scale_rms, batch_shift=shift, batch_scale_ratio=ratio, **self.norm)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Figures:
    """Numbers from the sums of `reductions.moments`; None where there are no finite values."""

    mean: float | None = None
    std: float | None = None
    rms: float | None = None
    max_abs: float | None = None
    zero_fraction: float | None = None
    dead_fraction: float | None = None
    unit_mean_rms: float | None = None
    unit_std: float | None = None
    non_finite: int = 0
    units: int = 0


def figures(sums: Sums | None) -> Figures:
    """The numbers in ``sums``."""
    if sums is None:
        return Figures()
    if sums.first.numel() == 1 and isinstance(sums.count, float):
        return _single(sums, sums.count)
    unit_mean, unit_std = unit_figures(sums)
    unit_var, units = unit_std * unit_std, len(unit_mean)
    counts = np.full(units, sums.count) if isinstance(sums.count, float) else _array(sums.count)
    total, non_finite = float(counts.sum()), int(sums.non_finite)
    if total == 0:
        return Figures(non_finite=non_finite, units=units)
    mean = float(unit_mean @ counts) / total
    # Within units and between them: no difference of large squares, so a mean far from zero costs no digits.
    spread = unit_mean - mean
    var = float((unit_var + spread * spread) @ counts) / total
    return Figures(
        mean=mean, std=math.sqrt(var), rms=math.sqrt(var + mean * mean), max_abs=float(sums.max_abs),
        zero_fraction=1 - float(sums.nonzero) / total,
        dead_fraction=int(np.count_nonzero((unit_mean == 0) & (unit_std == 0))) / units,
        unit_mean_rms=math.sqrt(float(unit_mean @ unit_mean) / units),
        unit_std=math.sqrt(float(unit_var.sum()) / units),
        non_finite=non_finite, units=units,
    )  # fmt: skip


def _single(sums: Sums, count: float) -> Figures:
    """`figures` of one unit without non-finite values, in plain Python: arrays of one number are slow."""
    if count == 0:
        return Figures(units=1)
    offset = float(sums.first) / count
    mean = float(sums.shift) + offset
    var = max(float(sums.second) / count - offset * offset, 0.0)
    return Figures(
        mean=mean, std=math.sqrt(var), rms=math.sqrt(var + mean * mean), max_abs=float(sums.max_abs),
        zero_fraction=1 - float(sums.nonzero) / count, dead_fraction=float(mean == 0 and var == 0),
        unit_mean_rms=abs(mean), unit_std=math.sqrt(var), units=1,
    )  # fmt: skip


def unit_figures(sums: Sums) -> tuple[Array, Array]:
    """Mean and population std of each unit."""
    counts = max(sums.count, 1.0) if isinstance(sums.count, float) else np.maximum(_array(sums.count), 1)
    offset = _array(sums.first) / counts
    return _array(sums.shift) + offset, np.sqrt(np.maximum(_array(sums.second) / counts - offset * offset, 0.0))


def _array(part: torch.Tensor | float) -> Array:
    return part.detach().cpu().double().numpy() if isinstance(part, torch.Tensor) else np.asarray(float(part))
