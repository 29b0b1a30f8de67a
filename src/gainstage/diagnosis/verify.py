"""`verify`: trains with the fixes and without, on the same batches with the same random numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch

from gainstage.diagnosis.records import Trial
from gainstage.errors import InputError
from gainstage.numerics import paired_interval
from gainstage.remedies.copies import copied
from gainstage.remedies.fix import Fix
from gainstage.remedies.losses import loss_on_activated
from gainstage.seeding import generator, preserved_rng
from gainstage.trace.call import batch_loss, to_device, unpack
from gainstage.trace.subject import Subject

BATCHES = 64
Curve = tuple[float, ...]
Progress = Callable[[int, int], None]


def verify(
    subject: Subject,
    fixes: Fix | Sequence[Fix],
    *,
    steps: int = 200,
    seeds: int = 3,
    on_progress: Progress | None = None,
) -> Trial:
    """Whether the fixes help: a paired trial of training with them and without.

    In each pair both runs see the same batches in the same order and draw the same random numbers; a fix that
    draws weights draws others for each pair. The effect is the mean over pairs of (final loss without - final loss
    with), the final loss being the median of a run's last tenth. A run that leaves the finite numbers ends there
    and counts as the largest finite loss of its pair. Where a fix changes what the loss reads, the run without it
    is scored on the fixed loss's scale, while it trains on its own. The subject is untouched.

    Args:
        subject: What to train; without an optimizer, Adam at 1e-3 is taken.
        fixes: One fix or several, applied in order.
        steps: Optimizer steps of a run.
        seeds: Pairs of runs, at least 2.
        on_progress: Called with (steps done, steps in all).

    Returns:
        The trial; ``improved`` if the whole 95 % interval of the effect is above zero.

    Raises:
        InputError: if there is no fix, or steps or seeds are out of their range.
        SubjectError: if the subject cannot be copied, or a fix does not fit it.
    """
    chosen = (fixes,) if isinstance(fixes, Fix) else tuple(fixes)
    _require(bool(chosen), "fixes must hold at least one Fix, got none. Take them from report.fixes().")
    _require(steps >= 1, f"steps must be 1 or more, got {steps}.")
    _require(seeds >= 2, f"seeds must be 2 or more, got {seeds}: one pair has no interval.")
    told = _Told(on_progress, 2 * steps * seeds)
    pairs: list[tuple[Curve, Curve]] = []
    with preserved_rng():
        for seed in range(seeds):
            before = _trained(copied(subject), steps, seed, told, score=_common_score(chosen))
            pairs.append((before, _trained(_fixed(subject, chosen, seed), steps, seed, told)))
    return _trial(pairs, chosen, steps, subject)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(f"verify: {message}")


@dataclass
class _Told:
    """Counts steps for whoever wants to know."""

    listener: Progress | None
    total: int
    done: int = 0

    def advance(self, count: int = 1) -> None:
        self.done += count
        if self.listener is not None:
            self.listener(min(self.done, self.total), self.total)


def _fixed(subject: Subject, fixes: tuple[Fix, ...], seed: int) -> Subject:
    fixed = copied(subject)
    for fix in fixes:
        if "seed" in fix.options:
            fix = replace(fix, options={**fix.options, "seed": fix.options["seed"] + seed})
        fixed = fix.apply(fixed)
    return fixed


def _common_score(fixes: tuple[Fix, ...]) -> Callable[[Any, Any], torch.Tensor] | None:
    """How to score the unfixed outputs so that they compare with the fixed ones; None if the loss stays what it is."""
    for fix in fixes:
        if fix.remedy == "drop_output_activation":
            return loss_on_activated(str(fix.options["op"]))
    return None


def _optimizer(subject: Subject) -> torch.optim.Optimizer:
    if subject.optimizer is not None:
        return subject.optimizer
    return torch.optim.Adam([p for p in subject.model.parameters() if p.requires_grad], lr=1e-3)


def _trained(subject: Subject, steps: int, seed: int, told: _Told, score: Any = None) -> Curve:
    """Losses of a run on a subject of its own, one a step, up to the first that is not finite."""
    batches = subject.batches.take(BATCHES)
    order = generator(seed, "batches")
    optimizer, losses = _optimizer(subject), list[float]()
    torch.manual_seed(seed)
    queue: list[int] = []
    for step in range(steps):
        queue = queue or torch.randperm(len(batches), generator=order).tolist()
        batch = batches[queue.pop()]
        optimizer.zero_grad(set_to_none=True)
        loss, shown = _losses(subject, batch, score)
        losses.append(shown)
        if not (math.isfinite(shown) and math.isfinite(float(loss.detach()))):
            told.advance(steps - step)
            break
        loss.backward()
        optimizer.step()
        told.advance()
    return tuple(losses)


def _losses(subject: Subject, batch: Any, score: Any) -> tuple[torch.Tensor, float]:
    """The loss to train on, and the one to show."""
    if score is None or subject.loss is None or subject.forward is not None:
        loss = batch_loss(subject, subject.model, batch)
        return loss, float(loss.detach())
    unpacked = unpack(to_device(batch, subject.model))
    outputs = subject.model(*unpacked.args, **unpacked.kwargs)
    with torch.no_grad():
        shown = float(score(outputs, unpacked.targets))
    return subject.loss(outputs, unpacked.targets), shown


def _trial(pairs: list[tuple[Curve, Curve]], fixes: tuple[Fix, ...], steps: int, subject: Subject) -> Trial:
    differences = [
        _final(before, pair=(before, after)) - _final(after, pair=(before, after)) for before, after in pairs
    ]
    interval = paired_interval(differences)
    built = subject.optimizer
    rates = "" if built is None else ", ".join(f"{group.get('lr', 0):g}" for group in built.param_groups[:3])
    optimizer = (
        "Adam, learning rate 0.001 (none was given)"
        if built is None
        else f"{type(built).__name__}, learning rate {rates}"
    )
    diverged = sum(not math.isfinite(curve[-1]) for pair in pairs for curve in pair)
    notes = []
    if _common_score(fixes) is not None:
        notes.append("Both curves show the negative log-likelihood of the predicted probabilities.")
    if diverged:
        notes.append(f"{diverged} of {2 * len(pairs)} runs left the finite numbers.")
    return Trial(
        tuple(before for before, _ in pairs), tuple(after for _, after in pairs), interval.low > 0, interval.mean,
        (interval.low, interval.high), fixes, steps, optimizer, " ".join(notes),
    )  # fmt: skip


def _final(curve: Curve, pair: tuple[Curve, Curve]) -> float:
    if not math.isfinite(curve[-1]):
        return max((value for other in pair for value in other if math.isfinite(value)), default=0.0)
    return median(curve[-max(5, len(curve) // 10) :])
