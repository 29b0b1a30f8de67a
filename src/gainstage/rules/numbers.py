"""Numbers: NUM001 first-non-finite."""

from __future__ import annotations

import math
from collections.abc import Iterator

from gainstage.rules.base import Finding, NotAssessed, Severity, Threshold, rule
from gainstage.rules.tried import LEARNED, learned_share
from gainstage.trace.records import NonFiniteRecord, Trace
from gainstage.trace.training_records import OptimizerRecord, TrialRecord

LOWER_RATES = 2  # a tenth and a hundredth
_WORKING = "where a rate is to blame, the loss rises before it breaks down (docs/thresholds.md)"
CALM = Threshold("calm", 2.0, "× the first loss, the highest before the breakdown", _WORKING)
STEADY = Threshold("steady", 5, "steps before the breakdown", _WORKING)


@rule(
    "NUM001", "first-non-finite", severities=("error", "warning", "info"), cause="precision",
    explains=("INI003", "INI006", "ACT001", "GRD001", "OPT001", "OPT003", "OPT004"), claims=("overflow-before-bn",),
    thresholds=(CALM, STEADY),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        class Log(nn.Module):
            def forward(self, x):
                return torch.log(x)
        model = nn.Sequential(nn.Linear(8, 16), Log(), nn.Linear(16, 3))
        subject = gs.Subject(model, (torch.randn(32, 8), torch.randint(3, (32,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        class Log(nn.Module):
            def forward(self, x):
                return torch.log1p(x.relu())
        model = nn.Sequential(nn.Linear(8, 16), Log(), nn.Linear(16, 3))
        subject = gs.Subject(model, (torch.randn(32, 8), torch.randint(3, (32,))))
    """,
)  # fmt: skip
def first_non_finite(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """An operation produced NaN or infinity from finite numbers.

    What: the first operation, in the order of execution, with finite inputs and an output that is not finite, or with
        an output of NaN from a mask's infinities, if that reaches a gradient; or an optimizer whose first update is not
        finite though the gradient is. Warning: a loss that is written by hand and is not finite, or has no finite
        gradient, for answers that are sure; an error where a trial breaks down.
    Why it hurts: one NaN spreads to the loss and from there, in one step, to every parameter.
    How measured: the pass is run again, and every operation's inputs and outputs are looked at, forward and backward;
        with a trial whose loss leaves the finite numbers, the batches that it was made on. If these are sound, the
        loss had not doubled, and the same trial ends so at a tenth and a hundredth of the rate, no rate is to blame.
    When it is a false alarm: masks that are filled with -inf before a softmax are not reported, nor is what the batch
        holds and the loss leaves out.
    Fix: keep the operation's inputs in its domain (an ε, a clamp), or the levels before it in range.
    References: Micikevicius et al. 2018, for what overflows in low precision.
    """
    found = trace.first_non_finite
    if found is None:
        if not math.isfinite(trace.loss):
            yield _finding(NonFiniteRecord("loss", "", "loss", "nan", 1, ""), trace)
        elif trace.step is not None and trace.step.wild_update and trace.optimizer is not None:
            yield _update_finding(trace, trace.optimizer)
        elif trace.trial is not None and trace.trial.spoilt:
            yield _spoilt_finding(trace.trial)
        elif trace.trial is not None and trace.trial.singular:
            yield _singular_finding(trace.trial)
        elif trace.loss_record is not None and trace.loss_record.singular:
            yield _fragile_finding(trace)
        elif trace.trial is not None and _sudden(trace.trial):
            yield _sudden_finding(trace.trial)
        return
    if (found.phase == "input" and _unharmed(trace)) or (found.masked and not _hurt(trace)):
        return
    yield _finding(found, trace)


def _unharmed(trace: Trace) -> bool:
    """Whether what is not finite in the batch was left out on its way: masked targets, masks of -inf."""
    whole = all(not layer.non_finite and not layer.grad_non_finite for layer in trace.layers)
    return whole and math.isfinite(trace.loss) and not any(output.non_finite for output in trace.outputs)


def _hurt(trace: Trace) -> bool:
    """Whether what is not finite reaches the loss, or a gradient."""
    return not math.isfinite(trace.loss) or any(layer.grad_non_finite for layer in trace.layers)


def _update_finding(trace: Trace, optimizer: OptimizerRecord) -> Finding:
    low = next((p.dtype for p in trace.parameters if p.dtype in ("float16", "bfloat16")), "")
    return Finding(
        "NUM001", "first-non-finite", "error", "precision", "",
        message=f"The first update of {optimizer.type} is not finite, though the loss and its gradient are"
        + (f": the parameters are {low}." if low else "."),
        why="Every parameter that it moves is NaN after one step.",
        advice="Keep the parameters in float32 and compute in low precision (torch.autocast): in float16 an ε of 1e-8 "
        "and the squares of small gradients are zero." if low else "Look at the optimizer's ε, and at its state.",
        evidence={"phase": "update"},
    )  # fmt: skip


def _spoilt_finding(trial: TrialRecord) -> Finding:
    return Finding(
        "NUM001", "first-non-finite", "error", "data", "",
        message=f"Another batch than the first holds values that are not finite ({trial.spoilt})"
        + (f": the trial's loss left the finite numbers after {len(trial.losses)} steps."
           if not math.isfinite(trial.end) else ", one of those that the trial was not trained on."),
        why="One NaN reaches the loss, and with the next step every parameter: nothing can be learned after it.",
        advice="Clean the data before training.", value=float(len(trial.losses)), threshold=0.0,
        evidence={"phase": "input", "where": trial.spoilt},
    )  # fmt: skip


def _singular_finding(trial: TrialRecord) -> Finding:
    return Finding(
        "NUM001", "first-non-finite", "error", "precision", "",
        message=f"On another batch than the first ({trial.singular}) the loss is finite and its gradient is not, "
        f"before any step; a trial's loss left the finite numbers after {len(trial.losses) - 1} steps.",
        why="One NaN reaches the loss, and with the next step every parameter: nothing can be learned after it.",
        advice="Look for a root, norm or distance at zero, acos at 1, or a logarithm or power at zero: their slope is "
        "infinite there. Add an ε inside; torch.autograd.set_detect_anomaly(True) names the operation.",
        value=float(len(trial.losses)), threshold=0.0, evidence={"phase": "trial", "where": trial.singular},
    )  # fmt: skip


def _fragile_finding(trace: Trace) -> Finding:
    """Of a loss that no trial need reach: where it is learned well, there the answers become sure."""
    learned = learned_share(trace)
    trial = trace.trial
    broken = trial is not None and not math.isfinite(trial.end)
    severity: Severity = "error" if broken else "warning"
    if learned is not None and learned < LEARNED.value:
        severity = "info"
    after = ""
    if trial is not None and broken:
        after = f" A trial's loss left the finite numbers after {len(trial.losses) - 1} steps."
    return Finding(
        "NUM001", "first-non-finite", severity, "precision", "",
        message="Of answers that are quite sure, as a sigmoid or softmax comes to by rounding, the loss or its "
        f"gradient is not a finite number.{after}",
        why="One NaN reaches the loss, and with the next step every parameter: nothing can be learned after it.",
        advice="Compute it from logits (BCEWithLogitsLoss, log_softmax), or keep what log, power, root and division "
        "read away from zero by an ε that its type can tell from one: 1e-7 in float32.",
        evidence={"phase": "loss", "kind": "singular"},
    )  # fmt: skip


def _sudden(trial: TrialRecord) -> bool:
    """Whether the loss leaves the finite numbers from where it stood, and does so at lower rates too."""
    lower = [variant.end for variant in trial.variants if variant.change == "lr" and variant.factor < 1]
    if math.isfinite(trial.end) or len(lower) < LOWER_RATES or any(math.isfinite(end) for end in lower):
        return False
    before = trial.losses[:-1]
    return len(before) >= STEADY.value and max(before) <= CALM.value * before[0]


def _sudden_finding(trial: TrialRecord) -> Finding:
    return Finding(
        "NUM001", "first-non-finite", "error", "precision", "",
        message=f"In a trial the loss went from {trial.losses[0]:.3g} to {trial.losses[-2]:.3g} and then, after "
        f"{len(trial.losses) - 1} steps, left the finite numbers; it also does at a hundredth of the learning rate.",
        why="One NaN reaches the loss, and with the next step every parameter: nothing can be learned after it.",
        advice="Look for a division, root, logarithm or power that is not finite, or has no finite gradient, at some "
        "value: torch.autograd.set_detect_anomaly(True) names it.",
        value=float(len(trial.losses)), threshold=0.0, evidence={"phase": "trial"},
    )  # fmt: skip


def _finding(found: NonFiniteRecord, trace: Trace) -> Finding:
    value = "NaN" if found.kind == "nan" else "an infinity"
    where = f"in {found.module}" if found.module else "at the root"
    if found.phase in ("input", "parameter"):
        place = "the batch's" if found.phase == "input" else "the parameter"
        what = f"{found.count} values of {place} {found.op} are not finite."
        advice = (
            "Clean the data before training."
            if found.phase == "input"
            else "Re-initialize it, or load a sound checkpoint."
        )
    else:
        size = "" if found.input_max_abs is None else f", from inputs of up to {found.input_max_abs:.3g} in magnitude"
        what = f"{found.op} {where} ({found.phase}) produced {value} in {found.count} values of {found.dtype}{size}."
        advice = "Keep what it reads inside its domain: an ε before a division or logarithm, a clamp, a smaller level."
        if found.masked:
            advice = "Mask with a large finite number, or leave one place of every row unmasked: softmax over nothing "
            advice += "but -inf is no number, and its gradient reaches all that it reads."
    return Finding(
        "NUM001", "first-non-finite", "error", "data" if found.phase == "input" else "precision", found.module,
        message=what,
        why="One NaN reaches the loss, and with the next step every parameter: nothing can be learned after it.",
        advice=advice, value=float(found.count), threshold=0.0,
        evidence={"op": found.op, "phase": found.phase, "kind": found.kind, "input_max_abs": found.input_max_abs},
        layers=tuple(layer.name for layer in trace.layers if layer.non_finite)[:1],
    )  # fmt: skip
