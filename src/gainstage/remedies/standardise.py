"""The remedy that changes the data: inputs brought to zero mean and unit scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from gainstage.errors import SubjectError
from gainstage.trace.copies import copied
from gainstage.trace.subject import Subject

BATCHES = 32

Statistics = tuple[torch.Tensor, torch.Tensor]


def standardise_inputs(subject: Subject, *, per_feature: bool = True) -> Subject:
    """The subject with every floating input tensor standardised: x ← (x - mean)/std.

    Mean and population std are taken in float64 over the first 32 batches; features are dimension 1, or the last
    of three. A constant feature is centred only. The new subject maps its batches as they are read, and has a
    model and an optimizer of its own.

    Args:
        subject: One without ``forward=``, whose batches say which tensors are inputs.
        per_feature: Take the figures per feature; otherwise over everything.

    Raises:
        SubjectError: if the subject overrides the forward, has no floating inputs, or non-finite ones.
    """
    if subject.forward is not None:
        raise SubjectError(
            "fix: the inputs must be known to be standardised, got a subject with forward=. "
            "Standardise the data where it is loaded."
        )
    sums: dict[str, _Sums] = {}
    for batch in subject.batches.take(BATCHES):
        _map_inputs(batch, lambda key, tensor: sums.setdefault(key, _Sums()).add(tensor, per_feature=per_feature))
    if not sums:
        raise SubjectError("fix: the batch must have floating inputs to standardise, got none. Check the data.")
    statistics = {key: entry.statistics() for key, entry in sums.items()}
    broken = [key for key, parts in statistics.items() if not all(bool(part.isfinite().all()) for part in parts)]
    if broken:
        raise SubjectError(
            f"fix: the inputs must be finite to be standardised, got NaN or infinity in inputs{broken[0]}. "
            "Remove or fill these values."
        )

    def standardised(batch: Any) -> Any:
        return _map_inputs(batch, lambda key, tensor: _applied(tensor, statistics[key]))

    return copied(subject).replace(batches=subject.batches.map(standardised))


@dataclass
class _Sums:
    """Moments of one input, added up batch by batch."""

    count: float = 0.0
    first: torch.Tensor | None = None
    second: torch.Tensor | None = None

    def add(self, tensor: torch.Tensor, *, per_feature: bool) -> torch.Tensor:
        feature = _feature_dim(tensor) if per_feature else None
        dims = [dim for dim in range(tensor.ndim) if dim != feature]
        values = tensor.detach().double()
        first, second = values.sum(dims, keepdim=True), (values * values).sum(dims, keepdim=True)
        self.first = first if self.first is None else self.first + first
        self.second = second if self.second is None else self.second + second
        self.count += tensor.numel() / first.numel()
        return tensor

    def statistics(self) -> Statistics:
        assert self.first is not None
        assert self.second is not None
        mean = self.first / self.count
        std = (self.second / self.count - mean**2).clamp_min(0).sqrt()
        # What rounding leaves of a constant feature's variance is not its scale.
        return mean, torch.where(std > 1e-6 * mean.abs().clamp_min(1e-12), std, 1.0)


def _feature_dim(tensor: torch.Tensor) -> int | None:
    if tensor.ndim < 2:
        return None
    return tensor.ndim - 1 if tensor.ndim == 3 else 1


def _applied(tensor: torch.Tensor, statistics: Statistics) -> torch.Tensor:
    mean, std = (part.to(tensor.device) for part in statistics)
    return ((tensor.double() - mean) / std).to(tensor.dtype)


Change = Callable[[str, torch.Tensor], torch.Tensor]


def _map_inputs(batch: Any, change: Change) -> Any:
    """The batch with ``change(place, tensor)`` in place of every floating input tensor."""
    if not isinstance(batch, (tuple, list)) or not batch:
        return _map_value(batch, "", change)
    inputs, rest = batch[: max(1, len(batch) - 1)], batch[max(1, len(batch) - 1) :]
    if len(inputs) == 1:
        return type(batch)((_map_value(inputs[0], "", change), *rest))
    return type(batch)((*_map_value(tuple(inputs), "", change), *rest))


def _map_value(value: Any, place: str, change: Change) -> Any:
    if isinstance(value, torch.Tensor):
        return change(place, value) if value.is_floating_point() else value
    if isinstance(value, Mapping):
        return {
            key: item if key == "labels" else _map_value(item, f"{place}.{key}", change) for key, item in value.items()
        }
    if isinstance(value, (tuple, list)):
        return type(value)(_map_value(item, f"{place}[{index}]", change) for index, item in enumerate(value))
    return value
