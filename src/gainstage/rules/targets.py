"""Targets: DAT002 bad-targets, DAT003 target-scale."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from gainstage.rules.base import Finding, NotAssessed, Severity, Threshold, counted, rule
from gainstage.rules.pairing import unpaired
from gainstage.rules.tried import HALFWAY, RELIEVED, relief, told
from gainstage.trace.records import LossRecord, TensorRecord, Trace
from gainstage.trace.target_records import AskedLoss, FurtherLabels, LabelRecord

ALIKE = Threshold("alike", 16, "samples with one target of several values", "a few may be copies of one another")
MANY = Threshold(
    "many", 64, "labels", "of a class that has nine samples in ten, 64 in a row come by chance once in 850"
)
BEYOND = Threshold(
    "beyond", 0.5, "distance from the interval [0, 1]", "soft labels of 0.7 to 1.2 are in use; wrong ones are -1 or 2"
)
BY_CHANCE = Threshold(
    "by_chance", 1e-3, "chance that shuffled samples fill the first batch with one class", "one run in a thousand"
)
BINARY = 2  # classes: that one of two is rare enough to be missing in a batch is common


@rule(
    "DAT002", "bad-targets", severities=("error", "warning", "info"), cause="data",
    explains=("NUM001", "INI006", "OPT001", "OPT003", "OPT004"), thresholds=(MANY, ALIKE, BY_CHANCE, BEYOND),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 3))
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(1, 4, (64,))))  # counted from 1
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 3))
        labels = torch.randint(3, (64,))
        labels[:8] = -100  # what the loss ignores is no class
        subject = gs.Subject(model, (torch.randn(64, 16), labels), nn.CrossEntropyLoss())
    """,
)  # fmt: skip
def bad_targets(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """The targets are not what the loss takes them for.

    What: error: labels that name no class, targets that are not finite, probabilities beyond 0 and 1, labels of 0 for
        losses that take -1 and 1, predictions of shape (N, 1) against targets of shape (N,) or (N, 2). Warning: one
        class alone in 64 samples or more, of three or more; a first batch of one class where others follow, which
        shuffled data would show once in a thousand runs; one number as the target of 64 samples or more, or one picture
        or sequence as that of 16.
    Why it hurts: the run fails, or it trains towards something else: each prediction is compared with the targets of
        all samples, or the loss falls without bound.
    How measured: what the loss's own operation was called with, before it ran; shapes as they were before torch
        broadcast them. Without labels that fit, the rest is measured without targets. If all labels of the first batch
        are one class, those of up to 15 more are read.
    When it is a false alarm: labels that the loss ignores, targets that are NaN where the loss leaves them out, and
        labels that the loss makes itself (contrastive learning) are not reported. A class that has nearly all samples
        may fill a batch; of two classes that is worth knowing only, and so are targets that are all 0 or 1, as of a
        network that puts out its own residual or of one half of a GAN. One output may be meant for several targets, as
        of more than one judge: of a loss by hand that is reported for one-hot targets alone.
    Fix: labels from 0 to classes - 1; targets of the outputs' shape (targets.unsqueeze(1), or outputs.squeeze(1));
        shuffle the data.
    References: PyTorch, CrossEntropyLoss, BCEWithLogitsLoss, broadcasting semantics.
    """
    loss = trace.loss_record
    known = loss is not None and (loss.labels is not None or loss.name != "surrogate")
    if loss is None or not known:
        yield NotAssessed("DAT002", "needs targets: the batch has none")
        return
    fault = (
        _broken(trace, loss) or _unsigned(trace, loss) or unpaired(trace, loss.crossing) or _alike(trace, loss.labels)
    )
    if fault is not None:
        yield fault


_SIGNED = ("CosineEmbeddingLoss", "HingeEmbeddingLoss", "MarginRankingLoss", "SoftMarginLoss")
_SIGNED_FUNCTIONS = ("cosine_embedding_loss", "hinge_embedding_loss", "margin_ranking_loss", "soft_margin_loss")


def _unsigned(trace: Trace, loss: LossRecord) -> Finding | None:
    """Labels of 0 and 1 for a loss that knows -1 and 1."""
    if not loss.of_torch or loss.name not in (*_SIGNED, *_SIGNED_FUNCTIONS) or not trace.targets:
        return None
    target = trace.targets[-1]
    if target.min != 0 or target.max != 1:
        return None
    return _finding(
        "error", f"{loss.name} takes labels of -1 and 1, and its targets are 0 to 1.",
        "A label of 0 is neither: its samples add nothing to the loss, or the wrong thing.",
        "Bring the labels to -1 and 1: 2 * y - 1.", "unsigned", 0.0,
    )  # fmt: skip


def _broken(trace: Trace, loss: LossRecord) -> Finding | None:
    labels = loss.labels
    if labels is not None and labels.outside:
        return _finding(
            "error", f"{labels.outside} of {labels.count} labels name no class: they go from {labels.low:.0f} to "
            f"{labels.high:.0f}, and the model has {labels.classes} outputs, 0 to {(labels.classes or 0) - 1}.",
            "The loss fails at the first of them, on a GPU with an assertion that takes the process down.",
            "Number the classes from 0, give the model an output for each, or set ignore_index for what is no class.",
            "outside", float(labels.outside),
        )  # fmt: skip
    bad = next((tensor for tensor in trace.targets if tensor.non_finite), None)
    if bad is not None and not math.isfinite(trace.loss):
        return _finding(
            "error", f"{counted(bad.non_finite, 'value')} of {bad.name} {'is' if bad.non_finite == 1 else 'are'} NaN "
            "or infinite, and so is the loss.",
            "One such value reaches the loss, and with the next step every parameter.",
            "Clean the targets, or leave those samples out of the loss.", "non_finite", float(bad.non_finite),
        )  # fmt: skip
    if labels is None:
        return _beyond(loss.asked, trace)
    if labels.classes is not None and labels.count == 0 and not math.isfinite(trace.loss):
        return _finding(
            "error", "The loss ignores every label of the batch, and its mean over none is not a number.",
            "One such batch makes every parameter NaN.", "Look at ignore_index, and at what masks the labels.",
            "ignored", 0.0,
        )  # fmt: skip
    if labels.classes is None and labels.low is not None and labels.high is not None:
        far = max(-labels.low, labels.high - 1)
        if far > BEYOND.value:
            return _improbable(labels.op, labels.low, labels.high, far)
    return None


def _beyond(asked: AskedLoss | None, trace: Trace) -> Finding | None:
    """Targets that are no probabilities, for a loss by hand that takes them for some."""
    if asked is None or asked.beyond <= BEYOND.value or len(trace.targets) != 1:
        return None
    target = trace.targets[0]
    low, high = target.min, target.max
    if low is None or high is None:
        return _improbable("The loss", 0.0, asked.beyond + 1, asked.beyond)
    return _improbable("The loss", low, high, asked.beyond)


def _improbable(who: str, low: float, high: float, far: float) -> Finding:
    found = _finding(
        "error", f"{who} takes probabilities, and its targets go from {low:.3g} to {high:.3g}.",
        "Beyond 0 and 1 the loss has no lowest value: the outputs run off to infinity.",
        "Bring the targets to 0 and 1 (labels of -1 and 1: (y + 1) / 2), or use a loss for what they are; of three "
        "classes or more, one output for each and CrossEntropyLoss.",
        "probabilities", far, BEYOND.value,
    )  # fmt: skip
    if low.is_integer() and high.is_integer():
        return found
    # Of numbers to be predicted it is not the targets that are wrong.
    return replace(
        found, cause="loss",
        advice="Use a loss for numbers (MSELoss, L1Loss, HuberLoss) on outputs without a sigmoid; or bring the targets "
        "to 0 and 1, if they are shares.",
    )  # fmt: skip


def _one_value(trace: Trace) -> Finding | None:
    """Numbers to be predicted that are all the same."""
    if not trace.targets or trace.targets[0].std != 0 or not trace.targets[0].shape:
        return None
    target = trace.targets[0]
    labels = trace.loss_record.labels if trace.loss_record is not None else None
    if target.shape[0] < MANY.value or target.distinct is not None or labels is not None:
        return None
    return _finding(
        "info" if target.mean in (0.0, 1.0) else "warning",
        f"All targets of the {target.shape[0]} samples are {target.mean or 0.0:.3g}.",
        "A network that says this of every input has learnt all that there is to learn here.",
        "Look at how the targets are read: an index, a broadcast or a division may have made them one.",
        "one_value", float(target.shape[0]), MANY.value,
    )  # fmt: skip


def _one_answer(trace: Trace) -> Finding | None:
    """Targets of several numbers or tokens, the same for every sample."""
    if len(trace.targets) != 1 or any(tensor.same_samples for tensor in trace.inputs):
        return None
    target = trace.targets[0]
    varied = bool(target.std) or (target.distinct or 0) > BINARY
    # One right candidate among others stands in the same place for all samples.
    if target.min == 0 and target.max == 1 and math.isclose(target.mean or 0.0, (target.rms or 0.0) ** 2, rel_tol=1e-4):
        return None
    if not target.same_samples or not varied or len(target.shape) < BINARY or target.shape[0] < ALIKE.value:
        return None
    return _finding(
        "warning",
        f"All {target.shape[0]} samples have the same target, of shape {' x '.join(map(str, target.shape[1:]))}.",
        "A network that answers this to every input has learnt all that there is to learn here.",
        "Look at how the targets are read: an index or a broadcast may have made them one.",
        "one_answer", float(target.shape[0]), ALIKE.value,
    )  # fmt: skip


def _alike(trace: Trace, labels: LabelRecord | None) -> Finding | None:
    """Targets of a batch that are all one, of classes or of numbers."""
    if labels is not None and any(batch.same < batch.count for batch in trace.further):
        # Places of one picture are alike, and tell nothing of the order of the samples.
        one_each = len(trace.targets) == 1 and labels.count == trace.targets[0].shape[0]
        return _sorted(labels, trace.further) if one_each and trace.training else None
    return _one_class(trace, labels) or _one_value(trace) or _one_answer(trace)


def _sorted(labels: LabelRecord, further: tuple[FurtherLabels, ...]) -> Finding | None:
    """A first batch of one class that others follow."""
    everything = labels.count + sum(batch.count for batch in further)
    share = (labels.count + sum(batch.same for batch in further)) / everything
    chance = min(share**labels.count, _all_alone(labels, further, everything))
    if chance > BY_CHANCE.value or _by_turns(labels, further):
        return None
    return _finding(
        "warning",
        f"All {labels.count} labels of the first batch are {labels.low:.0f}, and {share:.0%} of the {everything} in "
        f"the first {len(further) + 1} batches: the data are sorted by class.",
        "On such batches the network learns to answer one class, and forgets it with the next ones.",
        "Shuffle the data: shuffle=True in the DataLoader, or permute inputs and labels together.",
        "sorted", chance, BY_CHANCE.value,
    )  # fmt: skip


def _all_alone(labels: LabelRecord, further: tuple[FurtherLabels, ...], everything: int) -> float:
    """At most the chance that in shuffled data so many batches have a single label each, whichever it is."""
    alone = [batch for batch in further if batch.low == batch.high and batch.count >= labels.count]
    known: Counter[float | None] = Counter({labels.low: labels.count})
    for batch in alone:
        known[batch.low] += batch.count
    # Of the others' labels each class may have all.
    commonest = min(1.0, (max(known.values()) + everything - sum(known.values())) / everything)
    batches = 1 + len(alone)
    return math.comb(1 + len(further), batches) * commonest ** ((labels.count - 1) * batches)


def _by_turns(labels: LabelRecord, further: tuple[FurtherLabels, ...]) -> bool:
    """Whether each batch has one class, another than the one before, of two: real ones and made ones, on purpose."""
    if any(batch.low != batch.high for batch in further):
        return False
    classes = [labels.low, *(batch.low for batch in further)]
    return len(set(classes)) == BINARY and all(one != other for one, other in pairwise(classes))


def _one_class(trace: Trace, labels: LabelRecord | None) -> Finding | None:
    target = trace.targets[0].shape if len(trace.targets) == 1 else ()
    # Where most labels are ignored the others are few.
    if labels is None or labels.classes is None or not labels.given or labels.count != math.prod(target):
        return None
    further = trace.further
    samples = target[0] + sum(batch.samples for batch in further) if target else 0
    if samples < MANY.value or labels.low != labels.high or labels.classes < BINARY:
        return None
    where = f"the first {len(further) + 1} batches" if further else "the batch"
    return _finding(
        "info" if labels.classes == BINARY else "warning",
        f"All labels of the {samples} samples of {where} are {labels.low:.0f}, of {labels.classes} classes.",
        "On such batches the network learns to answer one class, and forgets it with the next batch.",
        "Shuffle the data: they may be sorted by class. Look at how labels or masks are read: a division may have made "
        "them one.",
        "one_class", float(samples), MANY.value,
    )  # fmt: skip


def _finding(
    severity: Severity, message: str, why: str, advice: str, kind: str, value: float, threshold: float = 0.0
) -> Finding:
    return Finding(
        "DAT002", "bad-targets", severity, "data", "", message=message, why=why, advice=advice, value=value,
        threshold=threshold, evidence={"kind": kind},
    )  # fmt: skip


_TRIED = "Adam at 1e-3 and 1e-2, and SGD, on a three-layer network (docs/thresholds.md)"
LARGE = Threshold("large", 300.0, "rms of the targets, and its ratio to that of the outputs", _TRIED)
SMALL = Threshold("small", 1e-3, "rms of the targets", _TRIED)
SMALLER = Threshold("smaller", 30.0, "rms of the outputs over that of the targets", _TRIED)
_PAIRED = ("mse_loss", "smooth_l1_loss", "huber_loss")
_BY_HAND = frozenset(("sub", "rsub", "abs", "pow", "square", "mean", "sum"))


@rule(
    "DAT003", "target-scale", severities=("warning",), cause="data",
    explains=("INI006", "GRD002", "OPT001", "OPT002", "OPT003", "OPT004", "OPT005"),
    thresholds=(LARGE, SMALL, SMALLER, RELIEVED),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 1))
        prices = 250_000 + 80_000 * torch.randn(64, 1)
        subject = gs.Subject(model, (torch.randn(64, 16), prices), nn.MSELoss())
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 1))
        ages = 40 + 12 * torch.randn(64, 1)  # not standardised, and near enough
        subject = gs.Subject(model, (torch.randn(64, 16), ages), nn.MSELoss())
    """,
)  # fmt: skip
def target_scale(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """Regression targets are orders of magnitude off what the model puts out.

    What: targets of an rms above 300 and 300 times that of the outputs, or below 0.001 and a thirtieth of it; or above
        5 or below 0.2, and a trial ends below 0.4 of its squared error with standardised targets, in their units.
    Why it hurts: the last layer has to grow or shrink by that factor before anything else is learned; a step that
        is small for Adam is large against tiny targets, and large targets make gradients that throw plain SGD off.
    How measured: rms of the first batch's targets and of the outputs on it, where the loss compares the two as they
        are.
    When it is a false alarm: a learning rate chosen for it. Trained models, whose outputs have the targets' size,
        targets of zero, and losses that transform either first are not reported.
    Fix: standardise the targets over the training set, and undo it on the predictions.
    References: LeCun et al. 1998, Efficient BackProp, section 4.5.
    """
    loss = trace.loss_record
    outputs = [t for t in trace.outputs if t.rms is not None]
    targets = [t for t in trace.targets if t.rms is not None]
    if trace.targets and not targets:
        return  # classes have no scale
    values = loss is not None and loss.asked is not None and loss.asked.takes == "values"
    if loss is None or loss.name == "surrogate" or not (compares(loss) or values):
        yield NotAssessed("DAT003", "needs a loss that compares outputs and targets as they are, as squared errors do")
        return
    if len(outputs) != 1 or len(targets) != 1 or math.prod(outputs[0].shape) != math.prod(targets[0].shape):
        yield NotAssessed("DAT003", "needs one output, and one target of the same shape")
        return
    ends = relief(trace, "targets")
    # A run that has learned nothing of standardised targets is better for their mean alone.
    if ends is not None and not ends[1] < HALFWAY.value * (targets[0].std or 0.0) ** 2:
        ends = None
    finding = _off_scale(outputs[0], targets[0], tried=ends is not None)
    if finding is not None and ends is not None:
        finding = replace(
            finding, message=f"{finding.message} {told(trace, ends, 'with standardised targets')}",
            value=ends[1] / ends[0], threshold=RELIEVED.value,
        )  # fmt: skip
    if finding is not None:
        yield finding


def compares(loss: LossRecord) -> bool:
    """Whether the loss sets outputs against targets as they are, as squared and absolute errors do."""
    if not loss.ops:
        return False
    return loss.ops[0] in _PAIRED or (loss.ops[0] in ("sub", "rsub") and set(loss.ops) <= _BY_HAND)


def _off_scale(output: TensorRecord, target: TensorRecord, *, tried: bool = False) -> Finding | None:
    ours, theirs = output.rms or 0.0, target.rms or 0.0
    large = theirs > LARGE.value * max(1.0, ours)
    small = 0 < theirs < SMALL.value and ours > SMALLER.value * theirs
    if not large and not small and not tried:
        return None
    large = large or theirs > 1
    ratio = theirs / ours if ours else math.inf
    times = f"{ratio:.2g} times" if large else f"1/{1 / ratio:.2g} of"
    return Finding(
        "DAT003", "target-scale", "warning", "data", "",
        message=f"The targets have an rms of {theirs:.3g} (mean {target.mean or 0.0:.3g}, standard deviation "
        f"{target.std or 0.0:.3g}), the outputs one of {ours:.3g}"
        + (f": {times} theirs." if math.isfinite(ratio) else "."),
        why="The last layer must grow by that factor first, with gradients as large as the targets." if large
        else "One usual step changes the outputs by more than all that there is to learn.",
        advice="Standardise the targets: subtract their mean over the training set, divide by its standard deviation, "
        "and undo both on the predictions.",
        value=theirs, threshold=LARGE.value if large else SMALL.value,
        evidence={"kind": "large" if large else "small", "outputs": ours, "targets": theirs},
    )  # fmt: skip
