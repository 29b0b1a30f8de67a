"""What the networks of a sweep learn, and in which order each sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import torch

from gainstage.errors import GainstageError, SpecError
from gainstage.seeding import generator, preserved_rng
from gainstage.sweep.references import resolve
from gainstage.sweep.spec import Spec


@dataclass(frozen=True)
class Data:
    """A training and a test set, whole.

    Attributes:
        train_inputs, test_inputs: Tensors whose first dimension runs over the samples.
        train_targets, test_targets: Likewise; whole numbers are classes.

    Raises:
        SpecError: if a field is no tensor, a set is empty, or inputs and targets differ in number.

    Example:
        >>> Data(torch.zeros(8, 3), torch.zeros(8), torch.zeros(2, 3), torch.zeros(2)).samples
        8
    """

    train_inputs: torch.Tensor
    train_targets: torch.Tensor
    test_inputs: torch.Tensor
    test_targets: torch.Tensor

    def __post_init__(self) -> None:
        for entry in fields(self):
            value: object = getattr(self, entry.name)
            if not isinstance(value, torch.Tensor) or value.dim() == 0 or len(value) == 0:
                got = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
                raise SpecError(f"Data: {entry.name} must be a tensor of samples, got {got}. Mend the data function.")
        for name in ("train", "test"):
            inputs, targets = getattr(self, f"{name}_inputs"), getattr(self, f"{name}_targets")
            if len(inputs) != len(targets):
                raise SpecError(
                    f"Data: {name} inputs and targets must be as many, got {len(inputs)} and {len(targets)}. "
                    "Mend the data function."
                )

    @property
    def samples(self) -> int:
        """In the training set."""
        return len(self.train_inputs)

    @property
    def classes(self) -> bool:
        """Whether the targets are whole numbers."""
        return not self.train_targets.is_floating_point()

    def to(self, dtype: torch.dtype, device: torch.device | str) -> Data:
        """The same on a device; numbers that are not whole have the type."""
        tensors: list[torch.Tensor] = [getattr(self, entry.name) for entry in fields(self)]
        return Data(*(t.to(device, dtype if t.is_floating_point() else t.dtype) for t in tensors))


def loaded(spec: Spec) -> Data:
    """The data of a specification, in its type and on its device; called once in a process for each source.

    Raises:
        SpecError: if the function fails, does not return `Data`, or the device is not there.
    """
    return _loaded(str(spec.data), spec.dtype, spec.device)


@lru_cache(maxsize=8)
def _loaded(source: str, dtype: str, device: str) -> Data:
    function = resolve(source)
    try:
        # What the function draws is the same in every process.
        with preserved_rng(0):
            found = function()
    except GainstageError:
        raise
    except Exception as error:
        raise SpecError(
            f"Spec: data {source!r} must return without arguments, got {type(error).__name__}: {error}. "
            "Run it by itself in Python."
        ) from error
    if not isinstance(found, Data):
        raise SpecError(
            f"Spec: data {source!r} must return gainstage.sweep.Data, got {type(found).__name__}. Wrap its tensors."
        )
    try:
        return found.to(getattr(torch, dtype), torch.device(device))
    except (RuntimeError, AssertionError) as error:
        line = str(error).splitlines()[0]
        raise SpecError(f"Spec: device must be there, got {device!r} ({line}). Use cpu.") from error


class Order:
    """The samples of each batch: a new permutation for each epoch, of a seed.

    Args:
        seed: Alone decides the order.
        samples: In the training set.
        batch_size: At most as many.

    Raises:
        SpecError: if the batch is larger than the set.

    Example:
        >>> order = Order(0, 5, 2)
        >>> sorted(torch.cat([order.batch(0), order.batch(1)]).tolist()) == sorted(order.batch(0).tolist())
        False
    """

    def __init__(self, seed: int, samples: int, batch_size: int) -> None:
        if batch_size > samples:
            raise SpecError(
                f"Spec: batch_size must be at most the {samples} training samples, got {batch_size}. Use fewer."
            )
        self.seed, self.samples, self.batch_size = seed, samples, batch_size
        self._epoch, self._permutation = -1, torch.empty(0, dtype=torch.int64)

    def batch(self, step: int) -> torch.Tensor:
        """Indices of the batch that update number ``step`` (from 0) is made of, on the CPU."""
        epoch, place = divmod(step, self.samples // self.batch_size)
        if epoch != self._epoch:
            drawn = torch.randperm(self.samples, generator=generator(self.seed, "order", str(epoch)))
            self._epoch, self._permutation = epoch, drawn
        return self._permutation[place * self.batch_size : (place + 1) * self.batch_size]


class Batches:
    """The batches of several runs, step by step.

    Runs of the same order share one batch, which is gathered once.

    Args:
        data: Where from.
        seeds: Of the order, one for each run.
        batch_size: Of all of them.
    """

    def __init__(self, data: Data, seeds: Sequence[int], batch_size: int) -> None:
        self._data = data
        self._orders = {seed: Order(seed, data.samples, batch_size) for seed in seeds}
        self._adopt(seeds)

    def _adopt(self, seeds: Sequence[int]) -> None:
        self._seeds, self._distinct = tuple(seeds), tuple(dict.fromkeys(seeds))
        places = {seed: place for place, seed in enumerate(self._distinct)}
        device = self._data.train_inputs.device
        self._which = torch.tensor([places[seed] for seed in self._seeds], device=device)

    @property
    def shared(self) -> bool:
        """Whether all runs see the same batch."""
        return len(self._distinct) == 1

    def at(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets, of shape (batch, ...) if shared, else (runs, batch, ...)."""
        device, drawn = self._which.device, [self._orders[seed].batch(step) for seed in self._distinct]
        if self.shared:
            chosen = drawn[0].to(device, non_blocking=True)
            return self._data.train_inputs.index_select(0, chosen), self._data.train_targets.index_select(0, chosen)
        chosen = torch.stack(drawn).to(device, non_blocking=True)[self._which]
        return self._data.train_inputs[chosen], self._data.train_targets[chosen]

    def keep(self, kept: Sequence[int]) -> None:
        """Drops all runs but these."""
        self._adopt([self._seeds[index] for index in kept])
