"""Which weights hold the same values as another one, as copies of an initialized layer do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from gainstage.trace.records import ParameterRecord
from gainstage.trace.reductions import real_view

# A gradient that arrives by two ways of one computation differs by rounding alone.
ROUNDING = 1e-4


def with_twins(
    records: Sequence[ParameterRecord], parameters: Mapping[str, torch.Tensor],
    gradients: Mapping[str, torch.Tensor | None],
) -> tuple[ParameterRecord, ...]:  # fmt: skip
    """The records with `ParameterRecord.twin` and ``twin_gradient`` set.

    Values are compared only where the figures agree to the last digit, so that a model without copies costs nothing.
    """
    alike: defaultdict[tuple[object, ...], list[ParameterRecord]] = defaultdict(list)
    for record in records:
        if len(record.shape) >= 2 and record.std > 0:
            alike[record.shape, record.dtype, record.mean, record.std, record.max_abs].append(record)
    found: dict[str, ParameterRecord] = {}
    for group in alike.values():
        originals: list[str] = []
        for record in group:
            value = parameters[record.name]
            twin = next((name for name in originals if _equal(value, parameters[name])), None)
            if twin is None and (len(group) == 1 or _is_drawn(value)):
                originals.append(record.name)
            elif twin is not None:
                together = _pushed_alike(gradients.get(record.name), gradients.get(twin))
                found[record.name] = replace(record, twin=twin, twin_gradient=together)
    return tuple(found.get(record.name, record) for record in records)


def _equal(value: torch.Tensor, other: torch.Tensor) -> bool:
    return value.device == other.device and torch.equal(value.detach(), other.detach())


def _is_drawn(value: torch.Tensor) -> bool:
    """Whether no single value fills half of it, as zeros fill an identity or a fixed filter."""
    values = real_view(value.detach()).flatten()
    return bool((values == values.median()).sum() * 2 < len(values))


def _pushed_alike(gradient: torch.Tensor | None, other: torch.Tensor | None) -> bool | None:
    """Whether the two gradients are equal up to rounding; None where one did not arrive or is zero."""
    if gradient is None or other is None or gradient.is_sparse or other.is_sparse:
        return None
    largest = gradient.detach().abs().max()
    if not float(largest) > 0 or not float(other.detach().abs().max()) > 0:
        return None
    return bool((gradient.detach() - other.detach()).abs().max() <= ROUNDING * largest)
