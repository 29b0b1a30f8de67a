"""SGD, Adam and AdamW: torch's own for one run, and the same updates on many runs in one buffer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from gainstage.sweep.settings import Settings


def schedule(settings: Settings, steps: int) -> Callable[[int], float]:
    """What the learning rate of each update is multiplied by.

    With a warm-up of w updates the factor is (t + 1)/w for t < w, then, with u = (t - w)/(T - w): 1, 1 - u, or
    (1 + cos πu)/2.

    Args:
        settings: Whose ``schedule`` and ``warmup`` count.
        steps: T, of the whole run.

    Returns:
        A function of the update's number t, from 0.

    Example:
        >>> factor = schedule(Settings(schedule="cosine", warmup=2), 10)
        >>> factor(0), factor(2), round(factor(6), 3)
        (0.5, 1.0, 0.5)

    References:
        Loshchilov and Hutter 2017, SGDR; Goyal et al. 2017, for the warm-up.
    """
    shapes: dict[str, Callable[[float], float]] = {
        "constant": lambda _u: 1.0,
        "linear": lambda u: 1 - u,
        "cosine": lambda u: (1 + math.cos(math.pi * u)) / 2,
    }
    shape, warmup = shapes[settings.schedule], settings.warmup
    return lambda t: (t + 1) / warmup if t < warmup else shape((t - warmup) / max(1, steps - warmup))


def optimizer(settings: Settings, parameters: Sequence[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """Torch's optimizer for one run."""
    s = settings
    if s.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, s.lr, momentum=s.momentum, weight_decay=s.weight_decay, nesterov=s.nesterov and s.momentum > 0
        )
    kind = torch.optim.Adam if s.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, s.lr, betas=(s.beta1, s.beta2), eps=s.eps, weight_decay=s.weight_decay)


class Spreads(Protocol):
    """What knows which run each number of a flat buffer belongs to."""

    def spread(self, values: Sequence[float]) -> torch.Tensor:
        """One value for each run, repeated over its numbers."""
        ...

    def shrunk(self, flat: torch.Tensor, kept: Sequence[int]) -> torch.Tensor:
        """What is left of a buffer when all runs but these are dropped."""
        ...


class Updates(Protocol):
    """Updates of all runs of a chunk, each with its own settings."""

    def update(self, values: torch.Tensor, gradient: torch.Tensor, factor: float) -> None:
        """One update of the flat values, in place; the gradient's buffer may be used up."""
        ...

    def keep(self, kept: Sequence[int], before: Spreads, after: Spreads) -> None:
        """Drops all runs but these, whose places the layouts before and after tell."""
        ...


class SgdUpdates:
    """p ← p - ηf·m with m ← μm + g + λp; with Nesterov's momentum p ← p - ηf·(g + λp + μm).

    Args:
        settings: Of each run; rate, momentum and weight decay may differ.
        layout: Of the flat buffer.

    References:
        Sutskever et al. 2013, in torch's form (the rate outside of the momentum).
    """

    def __init__(self, settings: Sequence[Settings], layout: Spreads) -> None:
        self._settings = list(settings)
        self._momentum: torch.Tensor | None = None
        self._spread(layout)

    def _spread(self, layout: Spreads) -> None:
        self._minus_lr = layout.spread([-entry.lr for entry in self._settings])
        decays = [entry.weight_decay for entry in self._settings]
        self._decay = layout.spread(decays) if any(decays) else None
        momenta = [entry.momentum for entry in self._settings]
        self._share = layout.spread(momenta) if any(momenta) else None

    def update(self, values: torch.Tensor, gradient: torch.Tensor, factor: float) -> None:
        """See `Updates`."""
        if self._decay is not None:
            gradient.addcmul_(values, self._decay)
        if self._share is not None:
            if self._momentum is None:
                self._momentum = torch.zeros_like(values)
            torch.addcmul(gradient, self._momentum, self._share, out=self._momentum)
            nesterov = self._settings[0].nesterov
            gradient = gradient.addcmul_(self._momentum, self._share) if nesterov else self._momentum
        values.addcmul_(gradient, self._minus_lr, value=factor)

    def keep(self, kept: Sequence[int], before: Spreads, after: Spreads) -> None:
        """See `Updates`."""
        self._settings = [self._settings[index] for index in kept]
        if self._momentum is not None:
            self._momentum = before.shrunk(self._momentum, kept)
        self._spread(after)


class AdamUpdates:
    """m ← β₁m + (1-β₁)g, v ← β₂v + (1-β₂)g², p ← p - ηf·m̂/(√v̂ + ε); weight decay in g, or p ← (1-ηfλ)p first.

    Args:
        settings: Of each run; rate and weight decay may differ, the rest is the first run's.
        layout: Of the flat buffer.

    References:
        Kingma and Ba 2015; Loshchilov and Hutter 2019 for the decoupled weight decay.
    """

    def __init__(self, settings: Sequence[Settings], layout: Spreads) -> None:
        self._settings = list(settings)
        self._first: torch.Tensor | None = None
        self._second: torch.Tensor | None = None
        self._count = 0
        self._spread(layout)

    def _spread(self, layout: Spreads) -> None:
        self._lr = layout.spread([entry.lr for entry in self._settings])
        decoupled = self._settings[0].optimizer == "adamw"
        decays = [entry.weight_decay * (entry.lr if decoupled else 1) for entry in self._settings]
        self._decay = layout.spread(decays) if any(decays) else None

    def update(self, values: torch.Tensor, gradient: torch.Tensor, factor: float) -> None:
        """See `Updates`."""
        common = self._settings[0]
        if self._first is None or self._second is None:
            self._first, self._second = torch.zeros_like(values), torch.zeros_like(values)
        if self._decay is not None and common.optimizer == "adamw":
            values.addcmul_(values, self._decay, value=-factor)
        elif self._decay is not None:
            gradient.addcmul_(values, self._decay)
        self._count += 1
        self._first.lerp_(gradient, 1 - common.beta1)
        self._second.mul_(common.beta2).addcmul_(gradient, gradient, value=1 - common.beta2)
        root = math.sqrt(1 - common.beta2**self._count)
        spread = torch.sqrt(self._second, out=gradient).div_(root).add_(common.eps)
        change = torch.div(self._first, spread, out=spread)
        values.addcmul_(change, self._lr, value=-factor / (1 - common.beta1**self._count))

    def keep(self, kept: Sequence[int], before: Spreads, after: Spreads) -> None:
        """See `Updates`."""
        self._settings = [self._settings[index] for index in kept]
        if self._first is not None and self._second is not None:
            self._first, self._second = before.shrunk(self._first, kept), before.shrunk(self._second, kept)
        self._spread(after)


def updates(settings: Sequence[Settings], layout: Spreads) -> Updates:
    """The updates of the runs of a chunk.

    Args:
        settings: Of each run, alike in `together`.
        layout: Of the flat buffer.
    """
    return SgdUpdates(settings, layout) if settings[0].optimizer == "sgd" else AdamUpdates(settings, layout)


def together(settings: Settings) -> tuple[object, ...]:
    """What runs must have alike to be updated at once."""
    s = settings
    rule = (s.nesterov,) if s.optimizer == "sgd" else (s.beta1, s.beta2, s.eps)
    return (s.optimizer, *rule, s.schedule, s.warmup, s.batch_size)
