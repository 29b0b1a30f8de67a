"""Records of tensors that stand still: parameters, inputs, targets, outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import nn

from gainstage.trace import reductions
from gainstage.trace.fast_sums import SMALL
from gainstage.trace.figures import figures, magnitude_figures, short, unit_figures
from gainstage.trace.records import ParameterRecord, TensorRecord
from gainstage.trace.twins import with_twins


def parameter_records(
    parameters: Mapping[str, nn.Parameter], gradients: Mapping[str, torch.Tensor | None], used: Iterable[str]
) -> tuple[ParameterRecord, ...]:
    """One record for each distinct parameter, with its gradient if one arrived."""
    seen = set(used)
    records = tuple(
        _parameter_record(
            name, parameter.detach(), gradients.get(name), requires_grad=parameter.requires_grad, used=name in seen
        )
        for name, parameter in parameters.items()
    )
    return with_twins(records, parameters, gradients)


def outlined_parameter(name: str, parameter: nn.Parameter, *, used: bool) -> ParameterRecord:
    """The record of a parameter with figures only if it is small: a slope has to be known, a matrix is drawn anew."""
    if parameter.numel() <= SMALL and not parameter.is_meta:
        return _parameter_record(name, parameter.detach(), None, requires_grad=parameter.requires_grad, used=used)
    return ParameterRecord(
        name=name, shape=tuple(parameter.shape), dtype=str(parameter.dtype)[6:], requires_grad=parameter.requires_grad,
        used=used, mean=0.0, std=0.0, rms=0.0, max_abs=0.0,
    )  # fmt: skip


def _parameter_record(
    name: str, value: torch.Tensor, gradient: torch.Tensor | None, *, requires_grad: bool, used: bool
) -> ParameterRecord:
    of_value = figures(reductions.moments(value, zeros=False))
    dense = None if gradient is None else gradient.detach().to_dense() if gradient.is_sparse else gradient.detach()
    of_gradient = magnitude_figures(None if dense is None else reductions.magnitudes(dense))
    return ParameterRecord(
        name=name, shape=tuple(value.shape), dtype=str(value.dtype)[6:], requires_grad=requires_grad, used=used,
        mean=short(of_value.mean) or 0.0, std=short(of_value.std) or 0.0, rms=short(of_value.rms) or 0.0,
        max_abs=short(of_value.max_abs) or 0.0,
        non_finite=of_value.non_finite, equal_units=reductions.equal_rows(value, of_value.max_abs),
        grad_rms=short(of_gradient.rms), grad_max_abs=short(of_gradient.max_abs),
        grad_equal_units=None if dense is None else reductions.equal_rows(dense, of_gradient.max_abs),
    )  # fmt: skip


def tensor_record(name: str, tensor: torch.Tensor) -> TensorRecord:
    """The record of one tensor of the batch or of the output."""
    shape, dtype = tuple(tensor.shape), str(tensor.dtype)[6:]
    if tensor.numel() == 0 or tensor.is_sparse:
        return TensorRecord(name, shape, dtype)
    if not (tensor.is_floating_point() or tensor.is_complex()):
        values = torch.unique(tensor)
        low, high = float(values.min()), float(values.max())
        return TensorRecord(name, shape, dtype, min=low, max=high, distinct=min(len(values), 1000),
                            same_samples=reductions.same_samples(tensor))  # fmt: skip
    tensor = tensor.detach()
    feature_dim = _feature_dim(tensor)
    sums = reductions.moments(tensor, feature_dim, careful=True)
    whole = figures(sums)
    mean, std = unit_figures(sums)
    low, high = reductions.extremes(tensor)
    # Rounding leaves a constant feature with a std of about 1e-8 of its mean.
    varying = std > 1e-7 * abs(mean)
    many = feature_dim is not None and len(std) > 1
    return TensorRecord(
        name, shape, dtype, mean=whole.mean, std=whole.std, rms=whole.rms, min=low, max=high,
        non_finite=whole.non_finite, features=len(std) if many else None,
        feature_mean_max=float(abs(mean).max()) if many else None,
        feature_std_min=float(std[varying].min()) if many and varying.any() else None,
        feature_std_max=float(std.max()) if many else None,
        constant_features=int((~varying).sum()) if many and tensor.shape[0] > 1 else None,
        same_samples=reductions.same_samples(tensor),
    )  # fmt: skip


def _feature_dim(tensor: torch.Tensor) -> int | None:
    if tensor.ndim < 2:
        return None
    return -1 if tensor.ndim == 3 else 1
