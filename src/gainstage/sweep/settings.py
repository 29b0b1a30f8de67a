"""The names of a cell's values that sweeps give a meaning to; all others go to the model's factory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from gainstage import schemes
from gainstage.errors import SpecError, UnknownNameError

OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "linear", "cosine")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How one cell is initialized and trained.

    Attributes:
        init: A scheme of `gainstage.schemes`; None or ``torch``: the weights that the factory draws.
        scale: Multiplies the initial weights of two and more dimensions.
        lr: The learning rate that the schedule multiplies.
        batch_size: Samples of a batch; an epoch's last batch is left out where it would be smaller.
        optimizer: ``sgd``, ``adam`` or ``adamw``, as torch defines them.
        momentum, nesterov: Of SGD.
        beta1, beta2, eps: Of Adam.
        weight_decay: Added to the gradient; decoupled in AdamW.
        clip: The largest global norm of the gradient; inf: none.
        schedule: ``constant``, ``linear`` to zero, or half a ``cosine`` to zero, over the sweep's steps.
        warmup: Steps over which the rate first rises linearly.
        seed: Of the weights and of what the model draws while it trains.
        data_seed: Of the order of the samples; None: the seed.

    Example:
        >>> Settings(lr=0.5).optimizer
        'sgd'
    """

    init: str | None = None
    scale: float = 1.0
    lr: float = 0.1
    batch_size: int = 64
    optimizer: str = "sgd"
    momentum: float = 0.0
    nesterov: bool = False
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip: float = math.inf
    schedule: str = "constant"
    warmup: int = 0
    seed: int = 0
    data_seed: int | None = None

    @property
    def order_seed(self) -> int:
        """Of the order of the samples."""
        return self.seed if self.data_seed is None else self.data_seed


def _number(low: float, high: float = math.inf, *, open_low: bool = False) -> Callable[[Any], float | None]:
    def read(value: Any) -> float | None:
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            return None
        return float(value) if low <= value <= high and not (open_low and value == low) else None

    return read


def _whole(low: int) -> Callable[[Any], int | None]:
    def read(value: Any) -> int | None:
        whole = isinstance(value, int) and not isinstance(value, bool)
        return value if whole and value >= low else None

    return read


_READERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "scale": (_number(0), "a number of at least 0"),
    "lr": (_number(0), "a number of at least 0"),
    "batch_size": (_whole(1), "a whole number of at least 1"),
    "momentum": (_number(0), "a number of at least 0"),
    "nesterov": (lambda value: value if isinstance(value, bool) else None, "true or false"),
    "beta1": (_number(0, 1 - 2**-53), "a number from 0 to below 1"),
    "beta2": (_number(0, 1 - 2**-53), "a number from 0 to below 1"),
    "eps": (_number(0), "a number of at least 0"),
    "weight_decay": (_number(0), "a number of at least 0"),
    "clip": (_number(0, open_low=True), "a number above 0"),
    "warmup": (_whole(0), "a whole number of at least 0"),
    "seed": (_whole(0), "a whole number of at least 0"),
    "data_seed": (_whole(0), "a whole number of at least 0"),
}
_CHOICES = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES}
# None says: as if it were not given.
_OPTIONAL = ("init", "data_seed", "clip")

RESERVED = tuple(entry.name for entry in fields(Settings))


def canonical(name: str, value: Any) -> Any:
    """A value as it is kept: numbers of the type that their name wants, so that equal cells have equal keys.

    Args:
        name: Of an axis or a fixed value.
        value: Anything.

    Returns:
        The checked value for a reserved name; for another one the value, with numpy's numbers as python's and
        tuples as lists.

    Raises:
        SpecError: if the value does not fit a reserved name.
        UnknownNameError: if it must be one of a few names and is none.

    Example:
        >>> canonical("lr", 1), canonical("widths", (8, 8))
        (1.0, [8, 8])
    """
    value = plain(value)
    if name not in RESERVED or (value is None and name in _OPTIONAL):
        return value
    if name == "init":
        return _scheme(value)
    if name in _CHOICES:
        if value not in _CHOICES[name]:
            raise UnknownNameError("Spec", name, str(value), _CHOICES[name])
        return value
    read, constraint = _READERS[name]
    kept = read(value)
    if kept is None:
        raise SpecError(f"Spec: {name} must be {constraint}, got {value!r}. Mend the axis or the fixed value.")
    return kept


def plain(value: Any) -> Any:
    """The value in types that JSON and TOML know; what is none of theirs stays as it is."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    # numpy's scalars, and tensors of one number
    return value.item() if hasattr(value, "item") and not isinstance(value, int | float) else value


def settings(values: Mapping[str, Any]) -> Settings:
    """What a cell's values say about its training.

    Args:
        values: Of a cell, canonical.

    Example:
        >>> settings({"lr": 0.2, "width": 64}).lr
        0.2
    """
    given = {name: value for name, value in values.items() if name in RESERVED}
    return Settings(**{name: value for name, value in given.items() if not (name == "clip" and value is None)})


def model_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that go to the model's factory.

    Example:
        >>> model_options({"lr": 0.2, "width": 64})
        {'width': 64}
    """
    return {name: value for name, value in values.items() if name not in RESERVED}


def _scheme(value: Any) -> str | None:
    if value == "torch":
        return None
    known = ("torch", *schemes.scheme_names())
    if value not in known:
        raise UnknownNameError("Spec", "init", str(value), known)
    return value
