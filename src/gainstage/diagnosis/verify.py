"""`verify`: trains with the fixes and without, on the same batches with the same random numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gainstage.diagnosis.records import Trial, final_loss
from gainstage.errors import InputError
from gainstage.landscape.training import BATCHES, Curve, gradients_kept, trained
from gainstage.numerics import paired_interval
from gainstage.remedies.fix import Fix
from gainstage.remedies.losses import loss_without
from gainstage.seeding import preserved_rng
from gainstage.trace import record
from gainstage.trace.copies import copied
from gainstage.trace.subject import Loss, Subject

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

    In each pair both runs see the same batches (the first 64 of the series) in the same order and draw the same
    random numbers; a fix that draws weights draws others for each pair. With f the final loss of a run, the median
    of its last tenth (five losses at least), the effect is the mean over pairs of f(without) - f(with), and its
    interval Student's t at 95 %. A run that leaves the finite numbers ends there and counts as the largest finite
    loss of its pair, which understates how bad it is.

    Where a fix takes away what the loss squashed a second time, both curves show the fixed loss, which is the
    negative log-likelihood of the predicted probabilities; the run without the fix trains on its own loss all the
    same. The subject, its gradients and every random generator are untouched, also when this raises.

    Args:
        subject: What to train, in the mode that it is in; without an optimizer, Adam at 1e-3 is taken.
        fixes: One fix or several, applied in order.
        steps: Optimizer steps of a run.
        seeds: Pairs of runs, at least 2.
        on_progress: Called with (steps done, steps in all).

    Returns:
        The trial; ``improved`` if the whole interval of the effect is above zero.

    Raises:
        InputError: if there is no fix, or steps or seeds are out of their range.
        SubjectError: if the subject cannot be copied or trained, has no targets, or a fix does not fit it.

    Validity:
        The pairs vary in the order of batches, in dropout and in what a fix draws; the weights before the fix are
        the subject's in all of them. It speaks of the loss on these batches, not of other data.

    Example:
        >>> import torch, gainstage as gs
        >>> layers = [m for _ in range(24) for m in (torch.nn.Linear(64, 64), torch.nn.ReLU())]
        >>> model = torch.nn.Sequential(*layers, torch.nn.Linear(64, 2))
        >>> x = torch.randn(64, 64)
        >>> fix = gs.Fix("INI002", "", "Draw the weights anew.", "reinitialize", {"seed": 0})
        >>> gs.verify(gs.Subject(model, (x, (x[:, 0] > 0).long())), fix, steps=40).improved
        True

    References:
        Student 1908, The probable error of a mean.
    """
    chosen = _require(subject, fixes, steps, seeds)
    told = _Told(on_progress, 2 * steps * seeds)
    pairs: list[tuple[Curve, Curve]] = []
    with preserved_rng(), gradients_kept(subject):
        # Read once: a loader that shuffles would give each run batches of its own.
        cached = subject.replace(batches=subject.batches.take(BATCHES))
        cached.batches.first()
        scoring = _scoring(cached, chosen)
        for seed in range(seeds):
            before = trained(copied(cached), steps, seed, told.advance, scoring.score)
            pairs.append((before, trained(_fixed(cached, chosen, seed), steps, seed, told.advance)))
    return _trial(pairs, chosen, steps, subject, scoring)


def _require(subject: Any, fixes: Any, steps: Any, seeds: Any) -> tuple[Fix, ...]:
    if not isinstance(subject, Subject):
        _refuse(f"subject must be a Subject, got {type(subject).__name__}. Wrap it: gs.Subject(model, batches, loss).")
    for name, value, least in (("steps", steps, 1), ("seeds", seeds, 2)):
        if not isinstance(value, int) or value < least:
            why = "one pair has no interval" if name == "seeds" else "a curve needs a step"
            _refuse(f"{name} must be {least} or more, got {value!r}: {why}. Leave it out for the default.")
    chosen: tuple[Any, ...] = tuple(fixes) if isinstance(fixes, Sequence) else (fixes,)
    wrong = [fix for fix in chosen if not isinstance(fix, Fix)]
    if wrong or not chosen:
        got = type(wrong[0]).__name__ if wrong else "none"
        _refuse(f"fixes must hold at least one Fix and nothing else, got {got}. Take them from report.fixes().")
    return chosen


def _refuse(message: str) -> None:
    raise InputError(f"verify: {message}")


@dataclass
class _Told:
    """Counts steps for whoever wants to know."""

    listener: Progress | None
    total: int
    done: int = 0

    def advance(self, count: int) -> None:
        self.done += count
        if self.listener is not None:
            self.listener(min(self.done, self.total), self.total)


def _fixed(subject: Subject, fixes: tuple[Fix, ...], seed: int) -> Subject:
    fixed = subject
    for fix in fixes:
        if "seed" in fix.options:
            fix = replace(fix, options={**fix.options, "seed": fix.options["seed"] + seed})
        fixed = fix.apply(fixed)
    return fixed


@dataclass(frozen=True)
class _Scoring:
    """How the unfixed runs are shown: ``score`` on the fixed loss's scale, or None for their own loss."""

    score: Loss | None = None
    comparable: bool = True
    note: str = ""


_HIDDEN = _Scoring(
    comparable=False,
    note="The fix changes what the loss means, and the loss is computed where it cannot be read: the two curves are "
    "not in one unit, so no improvement is claimed.",
)  # fmt: skip
_SQUASHING = {"log_softmax", "binary_cross_entropy_with_logits"}


def _scoring(subject: Subject, fixes: tuple[Fix, ...]) -> _Scoring:
    """Losses that squash what they read give another figure for p than for the logits of p: undo p for them.

    Other losses compare as they are, and so do activations that cannot be undone: the probabilities that
    cross-entropy sees are softmax(relu(z)) then, and its loss is their negative log-likelihood.
    """
    dropped = next((fix for fix in fixes if fix.remedy == "drop_output_activation"), None)
    if dropped is None:
        return _Scoring()
    trace = record(subject, backward=False)
    loss = trace.loss_record
    if loss is None or not _SQUASHING.intersection(loss.ops):
        return _Scoring()
    if subject.forward is not None or [output.name for output in trace.outputs] != ["outputs"]:
        return _HIDDEN
    score = loss_without(subject, str(dropped.options["op"]))
    return _Scoring(score, note="Both curves show the negative log-likelihood of the predicted probabilities.")


def _trial(
    pairs: list[tuple[Curve, Curve]], fixes: tuple[Fix, ...], steps: int, subject: Subject, scoring: _Scoring
) -> Trial:
    interval = paired_interval(
        [final_loss(before, pair) - final_loss(after, pair) for pair in pairs for before, after in [pair]]
    )
    broken = sum(not math.isfinite(curve[-1]) for pair in pairs for curve in pair)
    notes = [scoring.note, f"{broken} of {2 * len(pairs)} runs left the finite numbers." if broken else ""]
    return Trial(
        tuple(before for before, _ in pairs), tuple(after for _, after in pairs),
        interval.low > 0 and scoring.comparable, interval.mean, (interval.low, interval.high), fixes, steps,
        _optimizer_in_words(subject), " ".join(note for note in notes if note),
    )  # fmt: skip


def _optimizer_in_words(subject: Subject) -> str:
    if subject.optimizer is None:
        return "Adam, learning rate 0.001 (none was given)"
    rates = dict.fromkeys(f"{group.get('lr', 0):g}" for group in subject.optimizer.param_groups)
    return f"{type(subject.optimizer).__name__}, learning rate {', '.join(rates)}"
