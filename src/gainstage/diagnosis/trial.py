"""A few optimizer steps on a copy, for the rules that need time; and again with one thing changed, if they fail."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from gainstage.diagnosis.exchanged import exchanged
from gainstage.diagnosis.suspicions import BATCH_NORMS, changed
from gainstage.errors import SubjectError
from gainstage.landscape.training import BATCHES, gradients_kept, mean_loss, trained
from gainstage.rules.tried import LEARNED
from gainstage.rules.unrelated_targets import SURE
from gainstage.trace.call import tensors_of
from gainstage.trace.copies import copied
from gainstage.trace.subject import Subject
from gainstage.trace.training_records import (
    Change,
    EvaluationRecord,
    ExchangeRecord,
    TrialRecord,
    VariantRecord,
    end_of,
)

# A run of so many steps or more that ends above so much of where it began is made again.
TELLING_STEPS, HARDLY = 100, 0.5
# A run that ends below so much of the other's end has found what is wrong: nothing else is tried.
ENOUGH = 0.5
# A run of which nothing holds for the batches held out goes on for so many times its steps, to see whether it will.
LONGER = 2
# Of so many batches or more the last fifth is held out of the training; else so many are looked at again.
SPARING, SHARE, SEEN = 10, 5, 4
LOWER, HIGHER = (0.1, 0.01), (10.0, 100.0)


def short_trial(subject: Subject, steps: int, seed: int = 0, suspected: Sequence[Change] = ()) -> TrialRecord:
    """Losses of ``steps`` steps on a copy of the model with a copy of its optimizer.

    Every batch of the series is used once before one is used again. Of ten or more the last fifth is held out, for the
    trained copy's loss in both modes and with exchanged targets; where these show nothing that was learned of others
    than those trained on, the copy is trained on for twice the steps, and asked again. It ends at the first loss that
    is not finite. A run of 100 steps or more is made again with the same batches and random numbers: without each thing
    that is suspected; and, where it hardly lowers the loss, at a tenth and a hundredth of the learning rate, at ten and
    a hundred times, and without weight decay. One that lowers it by more is made again at a tenth of the rate where
    that is suspected.

    Args:
        subject: Stays as it is.
        steps: Of each run.
        seed: Of each run.
        suspected: From `suspicions`.

    Raises:
        SubjectError: if the model cannot be copied or trained.
    """
    with gradients_kept(subject):
        batches = subject.batches.take(BATCHES)
        spared = len(batches) // SHARE if len(batches) >= SPARING and not _repeated(batches) else 0
        whole = subject.replace(batches=batches)
        series = _parts(whole, spared)[0]
        run = copied(series)
        losses = trained(run, steps, seed, lambda _: None)
        variants = [*_variants(series, losses, steps, seed, rushed="lr" in suspected)]
        if steps >= TELLING_STEPS and not _scheduled(subject):
            done = {variant.change for variant in variants}
            changes: list[Change] = [change for change in suspected if change not in (*done, "lr")]
            others = (_without(whole, change, spared, steps, seed) for change in changes)
            variants += [other for other in others if other is not None]
        held_out = batches[len(batches) - spared :]
        worth = _worth(run, held_out, steps, seed) if _whole(losses) else None
        evaluation = _evaluated(run, losses, held_out or batches[:SEEN], unseen=spared > 0, seed=seed)
        if worth is not None and steps >= TELLING_STEPS and worth.lawful and worth.unseen < SURE.value * worth.noise:
            worth = _worth_later(run, held_out, steps, seed) or worth
        found = trial_of(steps, losses, batches, tuple(variants), evaluation, worth)
        return found if math.isfinite(found.end) or found.spoilt else replace(found, singular=_singular(series, seed))


def _repeated(batches: Sequence[Any]) -> bool:
    """Whether the last of these is one of the others: what was trained on is not held out."""
    last = [tensor for _, tensor in tensors_of(batches[-1])]
    return any(
        len(last) == len(other)
        and all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(last, other, strict=True))
        for other in ([tensor for _, tensor in tensors_of(batch)] for batch in batches[:-1])
    )


def _scheduled(subject: Subject) -> bool:
    """Whether a schedule has the last word on the rate: its first one may be a warm-up's, or zero."""
    groups = subject.optimizer.param_groups if subject.optimizer is not None else []
    return any("initial_lr" in group for group in groups)


def _parts(subject: Subject, spared: int) -> tuple[Subject, list[Any]]:
    """The subject on what is trained on, and the batches that are held out."""
    batches = list(subject.batches)
    return subject.replace(batches=batches[: len(batches) - spared]), batches[len(batches) - spared :]


def _without(whole: Subject, change: Change, spared: int, steps: int, seed: int) -> VariantRecord | None:
    """The same run without what is doubtful; None where it cannot be made."""
    rate = max((float(group["lr"]) for group in whole.optimizer.param_groups), default=0.0) if whole.optimizer else 0.0
    try:
        other, unit = changed(whole, change)
        run, unseen = _parts(other, spared)
        losses = trained(run, steps, seed, lambda _: None)
    except Exception:  # Inputs of many lengths, batches of many types: what cannot be changed decides nothing.
        return None
    ends = _evaluated(run, losses, unseen, unseen=True, seed=seed) if unseen else None
    factor = 0.0 if change in ("weight_decay", "dropout") else 1.0
    return VariantRecord(change, factor, rate, unit * end_of(losses), None if ends is None else unit * ends.in_eval)


def trial_of(
    steps: int,
    losses: Sequence[float],
    batches: Sequence[Any],
    variants: tuple[VariantRecord, ...] = (),
    evaluation: EvaluationRecord | None = None,
    exchange: ExchangeRecord | None = None,
) -> TrialRecord:
    """The record of a trial on these batches."""
    broken = bool(losses) and not math.isfinite(losses[-1])
    # One that stands among those held out spoils no step.
    broken = broken or (evaluation is not None and math.isnan(evaluation.in_train))
    return TrialRecord(
        steps,
        tuple(losses),
        _spoilt(batches) if broken else "",
        variants=variants,
        evaluation=evaluation,
        exchange=exchange,
    )


def _worth(run: Subject, held_out: Sequence[Any], steps: int, seed: int) -> ExchangeRecord | None:
    found = exchanged(run, run.batches.take(BATCHES), held_out, seed)
    return None if found is None else replace(found, steps=steps)


def _worth_later(run: Subject, held_out: Sequence[Any], steps: int, seed: int) -> ExchangeRecord | None:
    """What the right targets are worth to the copy after more steps; None where it breaks down meanwhile."""
    try:
        losses = trained(run, LONGER * steps, seed + 1, lambda _: None)
    except SubjectError:
        return None
    return _worth(run, held_out, (1 + LONGER) * steps, seed) if _whole(losses) else None


def _whole(losses: Sequence[float]) -> bool:
    return bool(losses) and math.isfinite(losses[-1])


def _evaluated(
    run: Subject, losses: Sequence[float], batches: Sequence[Any], *, unseen: bool, seed: int
) -> EvaluationRecord | None:
    """The trained copy's loss in both modes; the one in eval mode first, for the other moves running statistics."""
    if not _whole(losses):
        return None
    modes = [(module, module.training) for module in run.model.modules()]
    try:
        run.model.eval()
        in_eval = mean_loss(run, batches, seed)
        for module, mode in modes:
            module.training = mode
        in_train = mean_loss(run, batches, seed)
        return EvaluationRecord(len(batches), unseen, in_eval, in_train, _norms_alone(run, batches, in_train, seed))
    except SubjectError:  # as of a detector, which has no loss in eval mode
        return None


def _variants(
    series: Subject, losses: Sequence[float], steps: int, seed: int, *, rushed: bool
) -> Iterator[VariantRecord]:
    groups = series.optimizer.param_groups if series.optimizer is not None else []
    own = max((float(group["lr"]) for group in groups), default=0.0)
    if steps < TELLING_STEPS or not own or _scheduled(series):
        return
    end = end_of(losses)
    if not math.isfinite(losses[0]) or losses[0] <= 0:
        return
    if end < HARDLY * losses[0]:
        if rushed and end >= LEARNED.value * losses[0]:
            yield VariantRecord("lr", LOWER[0], own * LOWER[0], _run(series, steps, seed, rate=own * LOWER[0]))
        return
    for factor in LOWER if not math.isfinite(end) else (*LOWER, *HIGHER):
        there = _run(series, steps, seed, rate=own * factor)
        yield VariantRecord("lr", factor, own * factor, there)
        if there < ENOUGH * end:
            return
    if any(group.get("weight_decay") for group in groups):
        yield VariantRecord("weight_decay", 0.0, own, _run(series, steps, seed, decay=0.0))


def _run(series: Subject, steps: int, seed: int, *, rate: float | None = None, decay: float = 1.0) -> float:
    """The end of the same run at another learning rate, or with another weight decay."""
    subject = copied(series)
    for group in subject.optimizer.param_groups if subject.optimizer is not None else []:
        if "weight_decay" in group:
            group["weight_decay"] *= decay
    try:
        return end_of(trained(subject, steps, seed, lambda _: None, rate=None if rate is None else lambda _: rate))
    except SubjectError:  # where it does not run at all it does not run better
        return math.inf


def _norms_alone(run: Subject, batches: Sequence[Any], in_train: float, seed: int) -> float | None:
    """The loss with batch norms alone in eval mode; None without any that is in training mode."""
    norms = [module for module in run.model.modules() if isinstance(module, BATCH_NORMS) and module.training]
    if not norms or not math.isfinite(in_train):
        return None
    try:
        for norm in norms:
            norm.training = False
        return mean_loss(run, batches, seed)
    finally:
        for norm in norms:
            norm.training = True


def _singular(series: Subject, seed: int) -> str:
    """The first batch on which the model as it stands has a finite loss whose gradient is not finite; or ""."""
    for number, batch in enumerate(series.batches):
        subject = copied(series.replace(batches=[batch]))
        try:
            if not all(math.isfinite(loss) for loss in trained(subject, 1, seed, lambda _: None, rate=lambda _: 0.0)):
                return ""
        except SubjectError:
            return ""
        gradients = [parameter.grad for parameter in subject.model.parameters() if parameter.grad is not None]
        values = [gradient.coalesce().values() if gradient.is_sparse else gradient for gradient in gradients]
        if not all(bool(value.isfinite().all()) for value in values):
            return f"batch {number}"
    return ""


def _spoilt(batches: Sequence[Any]) -> str:
    """The first NaN, unless the first batch has some too, which trained: the loss leaves them out then."""
    for number, batch in enumerate(batches):
        for place, tensor in tensors_of(batch):
            if tensor.layout is torch.strided and bool(torch.isnan(tensor).any()):
                return f"batch {number}, at {place or 'its tensor'}" if number else ""
    return ""
