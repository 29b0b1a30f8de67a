"""`Subject`: what is examined, with its batches brought into one form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

import torch
from torch import nn

from gainstage.errors import SubjectError

Loss = Callable[[Any, Any], torch.Tensor]
Forward = Callable[[nn.Module, Any], torch.Tensor]


class BatchSeries:
    """A series of batches that can be read again and again, whatever it was given as.

    A one-shot iterator is consumed once, as far as it is read, and cached.
    """

    def __init__(self, source: Iterable[Any]) -> None:
        self._source = source
        self._iterator = iter(source) if iter(source) is source else None
        self._cache: list[Any] = []

    def __iter__(self) -> Iterator[Any]:
        if self._iterator is None:
            yield from self._source
            return
        position = 0
        while True:
            if position == len(self._cache):
                try:
                    self._cache.append(next(self._iterator))
                except StopIteration:
                    return
            yield self._cache[position]
            position += 1

    def first(self) -> Any:
        """The first batch.

        Raises:
            SubjectError: if there is none.
        """
        for batch in self:
            return batch
        raise SubjectError(
            "Subject: batches must hold at least one batch, got none. "
            "Pass a batch, or a fresh loader: a one-shot iterator that was read before is empty."
        )

    def take(self, count: int) -> list[Any]:
        """The first ``count`` batches, or as many as there are."""
        return list(islice(iter(self), count))

    def map(self, function: Callable[[Any], Any]) -> BatchSeries:
        """The series with ``function`` applied to each batch when it is read."""
        return BatchSeries(_Mapped(self, function))


class _Mapped:
    def __init__(self, series: BatchSeries, function: Callable[[Any], Any]) -> None:
        self.series, self.function = series, function

    def __iter__(self) -> Iterator[Any]:
        return map(self.function, self.series)


def batch_series(batches: Any) -> BatchSeries:
    """``batches`` of any admitted form as a series.

    A tuple, a mapping or a tensor is one batch; any other iterable is a series.

    Raises:
        SubjectError: if it is none of these.
    """
    if isinstance(batches, BatchSeries):
        return batches
    if isinstance(batches, (tuple, torch.Tensor, Mapping)):
        return BatchSeries([batches])
    if isinstance(batches, Iterable):
        return BatchSeries(cast("Iterable[Any]", batches))
    raise SubjectError(
        f"Subject: batches must be a batch or a series of batches, got {type(batches).__name__}. "
        "Pass (inputs, targets), a dict, a tensor, or a list or DataLoader of these."
    )


@dataclass(frozen=True, init=False, eq=False)
class Subject:
    """A model with what it is trained on.

    Args:
        model: Any `torch.nn.Module`.
        batches: One batch (a tuple ``(inputs, targets)`` or, of tensors alone, ``(first, second, ..., targets)``; a
            dict passed as keyword arguments; a tensor) or a series of them (a list, a DataLoader, any iterable; a
            one-shot iterator is cached).
        loss: ``(outputs, targets) -> scalar``. None: ``outputs.loss`` if there is one, else cross-entropy for
            integer class targets, else mean squared error.
        optimizer: A built optimizer over the model's parameters, or None.
        name: What reports call it; the class's name if empty.
        forward: ``(model, batch) -> scalar loss``; overrides loss and the unpacking of batches.

    Raises:
        SubjectError: if one of these is of the wrong kind.
    """

    model: nn.Module
    batches: BatchSeries
    loss: Loss | None
    optimizer: torch.optim.Optimizer | None
    name: str
    forward: Forward | None

    def __init__(
        self,
        model: nn.Module,
        batches: Any,
        loss: Loss | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        name: str = "",
        forward: Forward | None = None,
    ) -> None:
        given: dict[str, Any] = {"model": model, "optimizer": optimizer}
        _require(isinstance(given["model"], nn.Module), "model", "be a torch.nn.Module", model)
        _require(loss is None or callable(loss), "loss", "be callable or None", loss)
        _require(forward is None or callable(forward), "forward", "be callable or None", forward)
        _require(
            isinstance(given["optimizer"], (torch.optim.Optimizer, type(None))),
            "optimizer", "be a built torch.optim.Optimizer or None", optimizer,
        )  # fmt: skip
        values = (model, batch_series(batches), loss, optimizer, name or type(model).__name__, forward)
        for field, value in zip(self.__dataclass_fields__, values, strict=True):
            object.__setattr__(self, field, value)

    def replace(self, **changes: Any) -> Subject:
        """The subject with some fields changed."""
        fields = {field: getattr(self, field) for field in self.__dataclass_fields__}
        return Subject(**{**fields, **changes})


def as_subject(subject_or_model: Any, batches: Any = None, loss: Any = None, optimizer: Any = None) -> Subject:
    """A `Subject` from what the public functions accept.

    Raises:
        SubjectError: if a model comes without batches, or a subject with arguments that it already holds.
    """
    if not isinstance(subject_or_model, Subject):
        if batches is None:
            raise SubjectError(
                "check: batches must be given with a model, got None. "
                "Pass a sample batch: (inputs, targets), a dict, or a DataLoader."
            )
        return Subject(subject_or_model, batches, loss, optimizer)
    given = {"batches": batches, "loss": loss, "optimizer": optimizer}
    return subject_or_model.replace(**{key: value for key, value in given.items() if value is not None})


def _require(condition: bool, argument: str, constraint: str, value: Any) -> None:
    if not condition:
        kind = value.__name__ + " (a class)" if isinstance(value, type) else type(value).__name__
        raise SubjectError(f"Subject: {argument} must {constraint}, got {kind}. Build it before passing it.")
